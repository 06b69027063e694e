// CQRS: commands append events, a projection keeps a read model, queries ask only the model.
//
// shop.js sell FROM TO     the write side: events FROM to TO
// shop.js project          brings the read model in stock.json up to the end of the events
// shop.js query ARTICLE    the read side: asks stock.json, and no broker

const fs = require("fs");
const { Kafka, logLevel } = require("kafkajs");

const BROKER = process.env.HIGHWATER_BOOTSTRAP || "127.0.0.1:9092";
const TOPIC = "stock-events";
const MODEL = "stock.json";
const ARTICLES = ["chair", "desk", "lamp", "shelf"];

const kafka = new Kafka({ brokers: [BROKER], logLevel: logLevel.ERROR });

// Every third event brings 10 pieces, the others sell 1 to 4.
function eventOf(number) {
  const article = ARTICLES[number % ARTICLES.length];
  if (number % 3 === 0) return { article, kind: "delivered", pieces: 10 };
  return { article, kind: "sold", pieces: 1 + (number % 4) };
}

async function sell(first, last) {
  const producer = kafka.producer({ idempotent: true });
  await producer.connect();
  const messages = [];
  for (let number = first; number <= last; number++) {
    const event = eventOf(number);
    messages.push({ key: event.article, value: JSON.stringify({ number, ...event }) });
  }
  await producer.send({ topic: TOPIC, acks: -1, messages });
  await producer.disconnect();
  console.log(`events ${first} to ${last} are written`);
}

function load() {
  if (!fs.existsSync(MODEL)) return { next: {}, articles: {} };
  return JSON.parse(fs.readFileSync(MODEL, "utf8"));
}

// Model and position are one file, replaced in one step: no event counts twice or not at all,
// wherever the projection was interrupted.
function save({ next, articles }) {
  const sorted = (table) => Object.fromEntries(Object.entries(table).sort());
  const model = { next: sorted(next), articles: sorted(articles) };
  fs.writeFileSync(`${MODEL}.new`, JSON.stringify(model));
  fs.renameSync(`${MODEL}.new`, MODEL);
}

function apply(model, event) {
  const article = (model.articles[event.article] ??= { stock: 0, sold: 0, events: 0 });
  const sign = event.kind === "sold" ? -1 : 1;
  article.stock += sign * event.pieces;
  if (event.kind === "sold") article.sold += event.pieces;
  article.events += 1;
}

async function project() {
  const admin = kafka.admin();
  await admin.connect();
  const ends = await admin.fetchTopicOffsets(TOPIC);
  await admin.disconnect();
  const model = load();
  const isDone = () => ends.every((end) => (model.next[end.partition] || 0) >= Number(end.high));
  let applied = 0;
  const consumer = kafka.consumer({ groupId: "stock-projection", maxWaitTimeInMs: 100 });
  await consumer.connect();
  await consumer.subscribe({ topics: [TOPIC] });
  await new Promise((resolve, reject) => {
    consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error));
    consumer
      .run({
        autoCommit: false,
        eachMessage: async ({ partition, message }) => {
          // The group may hand out what the model has; the model knows better.
          if (Number(message.offset) < (model.next[partition] || 0)) return;
          apply(model, JSON.parse(message.value));
          model.next[partition] = Number(message.offset) + 1;
          applied += 1;
          save(model);
          if (isDone()) resolve();
        },
      })
      .catch(reject);
    for (const end of ends) {
      const offset = String(model.next[end.partition] || 0);
      consumer.seek({ topic: TOPIC, partition: end.partition, offset });
    }
    if (isDone()) resolve();
  });
  await consumer.disconnect();
  console.log(`applied ${applied} events`);
}

function query(name) {
  const article = load().articles[name];
  console.log(`${name}: ${article.stock} in stock, ${article.sold} sold, ${article.events} events`);
}

const [command, ...rest] = process.argv.slice(2);
const commands = {
  sell: () => sell(Number(rest[0]), Number(rest[1])),
  project,
  query: async () => query(rest[0]),
};
commands[command]().catch((error) => {
  console.error(error);
  process.exit(1);
});
