// kafkajs runs the cases of tests/clients: kafkajs_cases.js HOST:PORT PREFIX
//
// kafkajs consumes through groups only, so each read joins a group of its own (JoinGroup, SyncGroup)
// and seeks. Expectations are what Apache Kafka 4.1 answers.

const crypto = require('crypto')
const { Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, logLevel } = require('kafkajs')
const lz4 = require('lz4-napi')
const zstd = require('@bokuweb/zstd-wasm')

CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async encoder => lz4.compressFrame(encoder.buffer),
  decompress: async buffer => lz4.decompressFrame(buffer),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => Buffer.from(zstd.compress(encoder.buffer)),
  decompress: async buffer => Buffer.from(zstd.decompress(buffer)),
})

const CODECS = { none: 'None', gzip: 'GZIP', snappy: 'Snappy', lz4: 'LZ4', zstd: 'ZSTD' }
const PATIENCE_MS = 20000
const OFFSET_OUT_OF_RANGE_NOTE = 'Offset out of range'

const [bootstrap, prefix] = process.argv.slice(2)
const notes = []
const connectKafka = retries => new Kafka({
  clientId: 'kafkajs-cases',
  brokers: [bootstrap],
  logLevel: logLevel.WARN,
  logCreator: () => ({ log }) => {
    notes.push(log.message)
    console.error(JSON.stringify(log))
  },
  retry: { initialRetryTime: 50, retries },
})
const kafka = connectKafka(8)
// For the cases that wait for an error which kafkajs takes for a passing one.
const hasty = connectKafka(1)
const admin = kafka.admin()
const producers = {}
const topicOf = name => `${prefix}-${name}`
const main = topicOf('main')

const show = value =>
  JSON.stringify(value, (_, v) => (v && v.type === 'Buffer' ? Buffer.from(v.data).toString('hex') : v))

const expect = (actual, wanted, what) => {
  if (show(actual) !== show(wanted)) {
    throw new Error(`${what}: wanted ${show(wanted)}, got ${show(actual)}`)
  }
}

// The Kafka error name, wherever kafkajs has put it.
const typeOf = error =>
  error.type || (error.errors && error.errors.length && typeOf(error.errors[0])) ||
  (error.partitions && error.partitions.length && typeOf(error.partitions[0].error)) ||
  (error.cause && typeOf(error.cause)) || error.name

const expectError = async (type, what, action) => {
  let result
  try {
    result = await action()
  } catch (error) {
    return expect(typeOf(error), type, what)
  }
  throw new Error(`${what}: wanted ${type}, got ${show(result)}`)
}

const eventually = async (what, condition) => {
  const deadline = Date.now() + PATIENCE_MS
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not within ${PATIENCE_MS} ms: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

const create = (topic, numPartitions, configs = {}, replicationFactor = 1) =>
  admin.createTopics({
    waitForLeaders: true,
    topics: [{
      topic, numPartitions, replicationFactor,
      configEntries: Object.entries(configs).map(([name, value]) => ({ name, value })),
    }],
  })

const fresh = async (name, partitions = 1, configs = {}) => {
  const topic = topicOf(name)
  await create(topic, partitions, configs)
  await eventually(`${topic} in metadata`, async () =>
    (await leaders(topic)).size === partitions)
  return topic
}

const leaders = async topic => {
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
  return new Map(topics[0].partitions.map(p => [p.partitionId, p.leader]))
}

const topicNames = () => admin.listTopics()

const producer = async ({ client = kafka, ...options }) => {
  const known = JSON.stringify([client === kafka, options])
  if (!producers[known]) {
    producers[known] = client.producer({ allowAutoTopicCreation: false, ...options })
    await producers[known].connect()
  }
  return producers[known]
}

const produce = async (topic, messages, { codec = 'none', acks = -1, ...options } = {}) => {
  const sender = await producer(options)
  return sender.send({ topic, messages, acks, compression: CompressionTypes[CODECS[codec]] })
}

const bounds = async (topic, partition) => {
  const found = (await admin.fetchTopicOffsets(topic)).find(p => p.partition === partition)
  return { low: Number(found.low), high: Number(found.high) }
}

let groups = 0

// Reads `count` records of one partition from `start` (null: from the beginning) in a new group.
const consume = async (topic, partition, start, count) => {
  const consumer = kafka.consumer({
    groupId: `${prefix}-reader-${groups++}`, maxWaitTimeInMs: 50, allowAutoTopicCreation: false,
  })
  const got = []
  await consumer.connect()
  try {
    await consumer.subscribe({ topic, fromBeginning: true })
    await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`only ${got.length} of ${count} records`)), PATIENCE_MS)
      consumer.on(consumer.events.CRASH, event => reject(event.payload.error))
      consumer.run({
        autoCommit: false,
        eachMessage: async ({ partition: from, message }) => {
          if (from !== partition || got.length >= count) return
          got.push({ ...message, offset: Number(message.offset) })
          if (got.length === count) {
            clearTimeout(timer)
            resolve()
          }
        },
      }).catch(reject)
      if (start !== null) consumer.seek({ topic, partition, offset: String(start) })
    })
  } finally {
    await consumer.disconnect()
  }
  return got
}

const range = (from, to) => Array.from({ length: to - from }, (_, n) => from + n)

const cases = []
const define = (name, run) => cases.push({ name, run })

define('create_topic', async () => {
  await fresh('main', 3)
  expect([...(await leaders(main)).keys()].sort(), [0, 1, 2], 'partitions')
})

for (const codec of Object.keys(CODECS)) {
  for (const [name, acks] of [['0', 0], ['1', 1], ['all', -1]]) {
    define(`produce_${codec}_acks_${name}`, async () => {
      const start = (await bounds(main, 0)).high
      const values = range(0, 20).map(n => `${codec} ${name} ${n} `.repeat(20))
      const messages = values.map(value => ({ value, partition: 0 }))
      const answer = await produce(main, messages, { codec, acks })
      if (acks !== 0) expect(answer[0].baseOffset, String(start), 'base offset')
      const got = await consume(main, 0, start, 20)
      expect(got.map(m => m.value.toString()), values, 'values')
      expect(got.map(m => m.offset), range(start, start + 20), 'offsets')
    })
  }
}

define('idempotent_producer', async () => {
  const topic = await fresh('idempotent')
  for (let batch = 0; batch < 10; batch++) {
    const messages = range(0, 30).map(n => ({ value: `${batch * 30 + n}`, partition: 0 }))
    const answer = await produce(topic, messages, { idempotent: true })
    expect(answer[0].baseOffset, String(batch * 30), 'base offset')
  }
  const got = await consume(topic, 0, null, 300)
  expect(got.map(m => Number(m.value)), range(0, 300), 'values')
})

define('consume_from_start', async () => {
  expect((await consume(main, 0, null, 40)).map(m => m.offset), range(0, 40), 'offsets')
})

define('consume_from_offset', async () => {
  expect((await consume(main, 0, 17, 5)).map(m => m.offset), range(17, 22), 'offsets')
})

define('consume_from_timestamp', async () => {
  const topic = await fresh('times')
  const base = Date.now() - 100000
  await produce(topic, range(0, 10).map(n => ({ value: `${n}`, partition: 0, timestamp: String(base + n * 1000) })))
  const at = async ms => Number((await admin.fetchTopicOffsetsByTimestamp(topic, ms))[0].offset)
  expect(await at(base + 3000), 3, 'an exact timestamp')
  expect(await at(base + 3001), 4, 'between two timestamps')
  expect(await at(base + 60000), 10, 'after the last, where kafkajs takes the log end')
  expect((await consume(topic, 0, 4, 1))[0].timestamp, String(base + 4000), 'timestamp')
})

define('keyed_records', async () => {
  const topic = await fresh('keyed', 3)
  const messages = range(0, 70).map(n => ({ key: `key-${n % 7}`, value: `${n}` }))
  const answers = await produce(topic, messages)
  const homes = {}
  let total = 0
  for (const { partition } of answers) {
    const { high } = await bounds(topic, partition)
    total += high
    const got = await consume(topic, partition, null, high)
    const numbers = got.map(m => Number(m.value))
    expect(numbers, [...numbers].sort((a, b) => a - b), 'order within a partition')
    for (const { key } of got) {
      homes[key] = homes[key] === undefined ? partition : homes[key]
      expect(homes[key], partition, 'partition of one key')
    }
  }
  expect(total, 70, 'records')
})

define('explicit_partitions', async () => {
  const topic = await fresh('explicit', 3)
  await produce(topic, range(0, 30).map(n => ({ value: `${n}`, partition: n % 3 })))
  for (const partition of [0, 1, 2]) {
    const got = await consume(topic, partition, null, 10)
    expect(got.map(m => Number(m.value)), range(0, 10).map(n => n * 3 + partition), 'values')
  }
})

define('tiny_records', async () => {
  const topic = await fresh('tiny')
  const messages = [
    { value: '' }, { key: '', value: '' }, { key: null, value: 'x' }, { key: 'k', value: null },
  ]
  await produce(topic, messages.map(m => ({ ...m, partition: 0 })))
  const got = await consume(topic, 0, null, 4)
  const text = bytes => (bytes === null ? null : bytes.toString())
  expect(got.map(m => [text(m.key), text(m.value)]),
    [[null, ''], ['', ''], [null, 'x'], ['k', null]], 'keys and values')
})

define('large_records', async () => {
  const topic = await fresh('large')
  const values = range(0, 3).map(() => crypto.randomBytes(900000))
  for (const value of values) await produce(topic, [{ value, partition: 0 }])
  const got = await consume(topic, 0, null, 3)
  expect(got.map((m, n) => m.value.equals(values[n])), [true, true, true], '900 kB values equal')
})

define('headers', async () => {
  const topic = await fresh('headers')
  const headers = { a: ['1', '2'], empty: '', 'ünï': Buffer.from([0, 255]) }
  await produce(topic, [{ value: 'v', partition: 0, headers }])
  const got = (await consume(topic, 0, null, 1))[0].headers
  const hex = value => (Array.isArray(value) ? value.map(hex) : value.toString('hex'))
  expect(Object.entries(got).map(([key, value]) => [key, hex(value)]),
    [['a', ['31', '32']], ['empty', ''], ['ünï', '00ff']], 'headers')
})

define('error_record_too_large', async () => {
  const topic = await fresh('too-large', 1, { 'max.message.bytes': '2000' })
  await expectError('MESSAGE_TOO_LARGE', '3000 B to a topic that takes 2000', () =>
    produce(topic, [{ value: crypto.randomBytes(3000), partition: 0 }]))
  expect((await bounds(topic, 0)).high, 0, 'log end after the refusal')
  await expectError('MESSAGE_TOO_LARGE', '1.5 MB to the default limit', () =>
    produce(main, [{ value: crypto.randomBytes(1500000), partition: 1 }]))
})

define('error_unknown_topic', async () => {
  const name = topicOf('never-made')
  await expectError('UNKNOWN_TOPIC_OR_PARTITION', 'produce', () =>
    produce(name, [{ value: 'x', partition: 0 }], { client: hasty }))
  if ((await topicNames()).includes(name)) throw new Error('asking without auto-create made the topic')
  await expectError('UNKNOWN_TOPIC_OR_PARTITION', 'delete', async () => {
    const hastyAdmin = hasty.admin()
    await hastyAdmin.connect()
    await hastyAdmin.deleteTopics({ topics: [name] }).finally(() => hastyAdmin.disconnect())
  })
})

define('error_bad_partition', async () => {
  const before = (await Promise.all([0, 1, 2].map(p => bounds(main, p)))).map(b => b.high)
  // kafkajs drops a record for a partition without a leader, without a word.
  await produce(main, [{ value: 'x', partition: 99 }], { client: hasty })
  expect((await Promise.all([0, 1, 2].map(p => bounds(main, p)))).map(b => b.high), before, 'log ends')
  await expectError('INVALID_PARTITIONS', 'shrinking', () =>
    admin.createPartitions({ topicPartitions: [{ topic: main, count: 2 }] }))
})

// kafkajs hides the error from the application: it notes it and starts at the beginning.
define('error_offset_out_of_range', async () => {
  const { high } = await bounds(main, 0)
  notes.length = 0
  const got = await consume(main, 0, high + 1000, 1)
  expect(got[0].offset, 0, 'restarts at the beginning')
  if (!notes.some(note => note.startsWith(OFFSET_OUT_OF_RANGE_NOTE))) {
    throw new Error(`kafkajs noted no out of range: ${show(notes)}`)
  }
})

define('error_create_topic', async () => {
  expect(await create(main, 1), false, 'twice: kafkajs turns TOPIC_ALREADY_EXISTS into false')
  await expectError('INVALID_TOPIC_EXCEPTION', 'bad name', () => create('no spaces', 1))
  await expectError('INVALID_PARTITIONS', 'no partitions', () => create(topicOf('p'), 0))
  await expectError('INVALID_REPLICATION_FACTOR', '3 replicas', () => create(topicOf('r'), 1, {}, 3))
  await expectError('INVALID_CONFIG', 'bad value', () => create(topicOf('c'), 1, { 'retention.ms': 'soon' }))
  await expectError('INVALID_CONFIG', 'unknown key', () => create(topicOf('c'), 1, { 'no.such.key': '1' }))
})

define('list_topics', async () => {
  const names = await topicNames()
  for (const wanted of [main, topicOf('tiny'), topicOf('keyed')]) {
    if (!names.includes(wanted)) throw new Error(`${wanted} not among ${names}`)
  }
})

define('describe_topic', async () => {
  const found = await leaders(main)
  expect([...found.keys()].sort(), [0, 1, 2], 'partitions')
  expect(new Set(found.values()).size, 1, 'one broker leads everything')
  const cluster = await admin.describeCluster()
  expect(cluster.brokers.map(b => b.nodeId), [found.get(0)], 'brokers')
})

const configsOf = async topic => {
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }],
  })
  return Object.fromEntries(resources[0].configEntries.map(e => [e.configName, e.configValue]))
}

define('describe_configs', async () => {
  const topic = await fresh('configs', 1, { 'retention.ms': '12345', 'cleanup.policy': 'compact' })
  const found = await configsOf(topic)
  expect(found['retention.ms'], '12345', 'retention.ms')
  expect(found['cleanup.policy'], 'compact', 'cleanup.policy')
  expect(found['max.message.bytes'], '1048588', 'max.message.bytes')
  expect(found['segment.bytes'], '1073741824', 'segment.bytes')
})

define('alter_configs', async () => {
  const topic = await fresh('alter', 1, { 'max.message.bytes': '2000' })
  const alter = value => admin.alterConfigs({
    resources: [{
      type: ConfigResourceTypes.TOPIC, name: topic,
      configEntries: [{ name: 'max.message.bytes', value }],
    }],
  })
  await alter('500000')
  await eventually('the new value', async () => (await configsOf(topic))['max.message.bytes'] === '500000')
  await produce(topic, [{ value: crypto.randomBytes(3000), partition: 0 }])
  await expectError('INVALID_CONFIG', 'bad value', () => alter('many'))
})

define('create_partitions', async () => {
  const topic = await fresh('grow')
  await admin.createPartitions({ topicPartitions: [{ topic, count: 4 }] })
  await eventually('four partitions', async () => (await leaders(topic)).size === 4)
  const answer = await produce(topic, [{ value: 'x', partition: 3 }], { metadataMaxAge: 0 })
  expect([answer[0].partition, answer[0].baseOffset], [3, '0'], 'partition and offset')
})

define('delete_records', async () => {
  const topic = await fresh('trim')
  await produce(topic, range(0, 10).map(n => ({ value: `${n}`, partition: 0 })))
  const trim = offset => admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset }] })
  await trim('4')
  expect(await bounds(topic, 0), { low: 4, high: 10 }, 'log start and end')
  const got = await consume(topic, 0, null, 6)
  expect(got.map(m => [m.offset, Number(m.value)]), range(4, 10).map(n => [n, n]), 'the rest')
  await expectError('OFFSET_OUT_OF_RANGE', 'beyond the end', () => trim('100'))
})

const committed = async (group, partition) => {
  const found = await admin.fetchOffsets({ groupId: group, topics: [main] })
  return found[0].partitions.find(p => p.partition === partition)
}

define('committed_offsets', async () => {
  const group = topicOf('group')
  const none = await committed(group, 1)
  expect(none === undefined ? '-1' : none.offset, '-1', 'before the first commit')
  const partitions = [{ partition: 0, offset: '12' }, { partition: 2, offset: '0' }]
  await admin.setOffsets({ groupId: group, topic: main, partitions })
  expect((await committed(group, 0)).offset, '12', 'after a commit')
  expect((await committed(group, 2)).offset, '0', 'offset zero')
})

define('delete_topic', async () => {
  const topic = await fresh('gone')
  await produce(topic, [{ value: 'old', partition: 0 }])
  await admin.deleteTopics({ topics: [topic] })
  await eventually('the topic is gone', async () => !(await topicNames()).includes(topic))
  await fresh('gone')
  expect((await bounds(topic, 0)).high, 0, 'log end of the topic made anew')
})

const runAll = async () => {
  const wanted = (process.env.CASES || '').split(',').filter(Boolean)
  await zstd.init()
  await admin.connect()
  for (const { name, run } of cases) {
    if (wanted.length && !wanted.includes(name) && name !== 'create_topic') continue
    const started = Date.now()
    try {
      await run()
      console.log(`PASS ${name}\t${Date.now() - started} ms`)
    } catch (error) {
      console.error(error)
      console.log(`FAIL ${name}: ${String(error).replace(/\n/g, ' ')}`)
    }
  }
  process.exit(0)
}

runAll()
