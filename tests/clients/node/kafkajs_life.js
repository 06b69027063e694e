// A producer and a member of a group that outlive brokers, as tests/cluster.rs drives them:
// kafkajs_life.js HOST:PORT,HOST:PORT,... TOPIC. See cluster_life.py for what it prints.

const { Kafka, logLevel } = require("kafkajs");

const [bootstrap, topic] = process.argv.slice(2);
const PARTITIONS = 3;
const PAUSE_MS = 10;
const READ_PATIENCE_MS = 60000;
const say = (line) => process.stdout.write(`${line}\n`);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const acked = new Set();
const read = new Set();
let isClosing = false;

async function produce(kafka) {
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  for (let number = 0; !isClosing; number++) {
    const partition = number % PARTITIONS;
    const [{ baseOffset }] = await producer.send({
      topic,
      acks: -1,
      messages: [{ value: `${number}`, partition }],
    });
    acked.add(number);
    say(`ACKED ${number} ${partition} ${baseOffset}`);
    await pause(PAUSE_MS);
  }
}

async function consume(kafka) {
  const consumer = kafka.consumer({
    groupId: "kafkajs",
    sessionTimeout: 6000,
    rebalanceTimeout: 10000,
    heartbeatInterval: 500,
    maxWaitTimeInMs: 100,
  });
  consumer.on(consumer.events.CRASH, ({ payload }) => {
    if (!payload.restart) say(`ERROR consume: ${payload.error}`);
  });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  await consumer.run({
    autoCommitInterval: 1000,
    eachMessage: async ({ partition, message }) => {
      read.add(Number(message.value));
      say(`READ ${message.value} ${partition} ${message.offset}`);
    },
  });
}

async function main() {
  const kafka = new Kafka({
    brokers: bootstrap.split(","),
    logLevel: logLevel.NOTHING,
    requestTimeout: 10000,
    // Its default of five attempts is over before a session's time is.
    retry: { initialRetryTime: 100, maxRetryTime: 1000, retries: 60 },
  });
  process.stdin.resume();
  process.stdin.on("end", () => (isClosing = true));
  consume(kafka).catch((error) => say(`ERROR consume: ${error}`));
  await produce(kafka).catch((error) => say(`ERROR produce: ${error}`));
  const deadline = Date.now() + READ_PATIENCE_MS;
  while (![...acked].every((number) => read.has(number)) && Date.now() < deadline) await pause(50);
  process.stdout.write("DONE\n", () => process.exit(0));
}

main();
