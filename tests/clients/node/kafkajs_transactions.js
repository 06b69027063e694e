// kafkajs runs transactions: kafkajs_transactions.js HOST:PORT PREFIX
//
// What is expected is what Apache Kafka 4.1 does. One line is printed per case: `PASS name` or
// `FAIL name: why`. At a line `KILL` the broker is killed and started again by whoever runs this,
// who then writes a line.

const readline = require('readline')
const { Kafka, logLevel } = require('kafkajs')

const PARTITIONS = 2
const PATIENCE_MS = 30000
// Put at the end of a partition by each reader: kafkajs tells nobody where it stands among markers.
const END_OF_READING = 'end of reading'

const [bootstrap, prefix] = process.argv.slice(2)
const kafka = new Kafka({
  clientId: 'kafkajs-transactions',
  brokers: [bootstrap],
  logLevel: logLevel.WARN,
  logCreator: () => ({ log }) => console.error(JSON.stringify(log)),
  retry: { initialRetryTime: 50, maxRetryTime: 1000, retries: 12 },
})
const admin = kafka.admin()
const input = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]()
let groups = 0

const expect = (actual, wanted, what) => {
  const [got, expected] = [JSON.stringify(actual), JSON.stringify(wanted)]
  if (got !== expected) throw new Error(`${what}: wanted ${expected}, got ${got}`)
}

const killBroker = async () => {
  console.log('KILL')
  await input.next()
}

const fresh = async name => {
  const topic = `${prefix}-${name}`
  await admin.createTopics({
    waitForLeaders: true,
    topics: [{ topic, numPartitions: PARTITIONS, replicationFactor: 1 }],
  })
  return topic
}

const producerOf = async name => {
  const producer = kafka.producer({
    transactionalId: `${prefix}-${name}`, maxInFlightRequests: 1, idempotent: true,
  })
  await producer.connect()
  return producer
}

const send = (sender, topic, partition, value) =>
  sender.send({ topic, acks: -1, messages: [{ partition, value }] })

// Reads as a member of the group until `isEnough`, then leaves with the group's offsets untouched.
const consume = async (groupId, topic, readUncommitted, isEnough) => {
  const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 50, readUncommitted })
  await consumer.connect()
  try {
    await consumer.subscribe({ topic, fromBeginning: true })
    await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('not in time: the records')), PATIENCE_MS)
      const finish = done => value => { clearTimeout(timer); done(value) }
      consumer.on(consumer.events.CRASH, event => finish(reject)(event.payload.error))
      consumer.run({
        autoCommit: false,
        eachMessage: async ({ partition, message }) => {
          if (isEnough(partition, message)) finish(resolve)()
        },
      })
    })
  } finally {
    await consumer.disconnect()
  }
}

const read = async (topic, partition, readUncommitted = false) => {
  const plain = kafka.producer()
  await plain.connect()
  const [{ baseOffset }] = await send(plain, topic, partition, END_OF_READING)
  await plain.disconnect()
  const values = []
  await consume(`${prefix}-reader-${groups++}`, topic, readUncommitted, (from, message) => {
    if (from !== partition) return false
    const value = message.value.toString()
    if (value !== END_OF_READING) values.push(value)
    return message.offset === baseOffset
  })
  return values
}

const committed = async (groupId, topic) => {
  const [{ partitions }] = await admin.fetchOffsets({ groupId, topics: [topic] })
  return Number(partitions.find(one => one.partition === 0).offset)
}

const expectCommitted = async (topic, wanted) => {
  for (let partition = 0; partition < PARTITIONS; partition++) {
    expect(await read(topic, partition), wanted, `committed in partition ${partition}`)
  }
}

const abortedRecordsAreNotShown = async () => {
  const topic = await fresh('aborted')
  const producer = await producerOf('aborted')
  for (let number = 0; number < 6; number++) {
    const transaction = await producer.transaction()
    for (let partition = 0; partition < PARTITIONS; partition++) {
      await send(transaction, topic, partition, `r${number}`)
    }
    await (number % 2 === 0 ? transaction.commit() : transaction.abort())
  }
  await producer.disconnect()
  await expectCommitted(topic, ['r0', 'r2', 'r4'])
  expect((await read(topic, 0, true)).length, 6, 'all records')
}

const aSecondProducerFencesTheFirst = async () => {
  const topic = await fresh('fenced')
  const first = await producerOf('fenced')
  const old = await first.transaction()
  await send(old, topic, 0, 'of-the-first')
  const second = await producerOf('fenced')
  const transaction = await second.transaction() // Here the producer takes its identity.
  let fenced = null
  try {
    await send(old, topic, 0, 'late')
    await old.commit()
  } catch (error) {
    fenced = error.type || (error.cause && error.cause.type)
  }
  expect(['PRODUCER_FENCED', 'INVALID_PRODUCER_EPOCH'].includes(fenced), true, `fenced by ${fenced}`)
  await send(transaction, topic, 0, 'of-the-second')
  await send(transaction, topic, 1, 'of-the-second')
  await transaction.commit()
  await second.disconnect()
  await first.disconnect()
  await expectCommitted(topic, ['of-the-second'])
}

const offsetsCommitWithTheTransaction = async () => {
  const [source, target] = [await fresh('source'), await fresh('target')]
  const groupId = `${prefix}-group`
  const producer = await producerOf('offsets')
  const filling = await producer.transaction()
  for (let number = 0; number < 5; number++) await send(filling, source, 0, `r${number}`)
  await filling.commit()
  const taken = []
  await consume(groupId, source, false, (_, message) => taken.push(message.value.toString()) === 5)
  expect(taken, ['r0', 'r1', 'r2', 'r3', 'r4'], 'taken')
  for (const word of ['lost', 'copy']) {
    expect(await committed(groupId, source), -1, 'offset before the commit')
    const transaction = await producer.transaction()
    for (const value of taken) await send(transaction, target, 1, `${word} of ${value}`)
    await transaction.sendOffsets({
      consumerGroupId: groupId,
      topics: [{ topic: source, partitions: [{ partition: 0, offset: '5' }] }],
    })
    await (word === 'copy' ? transaction.commit() : transaction.abort())
  }
  // The answer to the commit is the decision; the group hears of it a moment later.
  const deadline = Date.now() + PATIENCE_MS
  while (await committed(groupId, source) !== 5) {
    if (Date.now() > deadline) throw new Error('not in time: the committed offset')
  }
  await producer.disconnect()
  expect(await read(target, 1), taken.map(value => `copy of ${value}`), 'copies')
}

// One transaction over both partitions, repeated with a new producer where it failed.
const writeOnce = async (topic, value, inTheMiddle) => {
  for (let attempt = 0; attempt < 3; attempt++) {
    const producer = await producerOf('killed')
    try {
      const transaction = await producer.transaction()
      await send(transaction, topic, 0, value)
      if (attempt === 0) await inTheMiddle()
      await send(transaction, topic, 1, value)
      return await transaction.commit()
    } catch (error) {
      console.error(`${value}, attempt ${attempt}:`, error)
      await (await producerOf('killed')).disconnect() // Ends what the last one left open.
      if ((await read(topic, 0)).includes(value)) return
    } finally {
      await producer.disconnect()
    }
  }
  throw new Error(`${value} was not committed`)
}

const transactionsOutliveAKilledBroker = async () => {
  const topic = await fresh('killed')
  await writeOnce(topic, 'before', async () => {})
  await killBroker()
  await expectCommitted(topic, ['before'])
  await writeOnce(topic, 'across', killBroker)
  await expectCommitted(topic, ['before', 'across'])
  await writeOnce(topic, 'after', async () => {})
  await expectCommitted(topic, ['before', 'across', 'after'])
}

const main = async () => {
  await admin.connect()
  const cases = {
    aborted_records_are_not_shown: abortedRecordsAreNotShown,
    a_second_producer_fences_the_first: aSecondProducerFencesTheFirst,
    offsets_commit_with_the_transaction: offsetsCommitWithTheTransaction,
    transactions_outlive_a_killed_broker: transactionsOutliveAKilledBroker,
  }
  for (const [name, run] of Object.entries(cases)) {
    const started = Date.now()
    try {
      await run()
      console.log(`PASS ${name}\t${Date.now() - started} ms`)
    } catch (error) {
      console.error(error)
      console.log(`FAIL ${name}: ${String(error).replaceAll('\n', ' ')}`)
    }
  }
  process.exit(0)
}

main()
