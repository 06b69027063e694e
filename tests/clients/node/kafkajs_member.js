// One member of a group, as tests/groups.rs drives it: kafkajs_member.js HOST:PORT GROUP TOPIC.
//
// Prints `OWNS 0,2` when its partitions change and `AT partition offset` for each record, commits
// after each batch, disconnects and ends when its standard input ends.

const { Kafka, logLevel } = require("kafkajs");

const [bootstrap, groupId, topic] = process.argv.slice(2);
const say = (line) => process.stdout.write(`${line}\n`);

async function main() {
  const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.NOTHING });
  const consumer = kafka.consumer({
    groupId,
    sessionTimeout: 6000,
    rebalanceTimeout: 10000,
    heartbeatInterval: 500,
    maxWaitTimeInMs: 100,
  });
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    const owned = payload.memberAssignment[topic] || [];
    say(`OWNS ${[...owned].sort((a, b) => a - b).join(",")}`);
  });
  consumer.on(consumer.events.REBALANCING, () => say("OWNS "));
  process.stdin.resume();
  process.stdin.on("end", async () => {
    await consumer.disconnect();
    process.exit(0);
  });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  await consumer.run({
    autoCommitThreshold: 1,
    eachMessage: async ({ partition, message }) => say(`AT ${partition} ${message.offset}`),
  });
}

main().catch((error) => {
  say(`ERROR ${error}`);
  process.exit(1);
});
