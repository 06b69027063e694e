//! Kafka's own command-line tools and kcat, unmodified, against the real binary.
//!
//! `HIGHWATER_PEER=kafka` runs the tests against Apache Kafka, which is how what they expect was
//! checked. The segment files that DumpLogSegments reads are those under the data directory.
#![allow(clippy::disallowed_methods, reason = "tests run on the real clock, threads and files")]
#![allow(clippy::print_stdout, reason = "what a tool said belongs into a failure's output")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::{Broker, Peer, Toolchain, Tools, Wire, kcat, run_to_end, scratch_directory};

const BINARY: &str = env!("CARGO_BIN_EXE_highwater");

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const CONSOLE_PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const CONSOLE_CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const GET_OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";
const CONFIGS: &str = "kafka.admin.ConfigCommand";
const PRODUCER_PERF: &str = "org.apache.kafka.tools.ProducerPerformance";
const LOG_DIRS: &str = "org.apache.kafka.tools.LogDirsCommand";
const DELETE_RECORDS: &str = "org.apache.kafka.tools.DeleteRecordsCommand";
const API_VERSIONS: &str = "org.apache.kafka.tools.BrokerApiVersionsCommand";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const TRANSACTIONS: &str = "org.apache.kafka.tools.TransactionsCommand";
const LEADER_ELECTION: &str = "org.apache.kafka.tools.LeaderElectionCommand";
const REASSIGN: &str = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";
const ACLS: &str = "org.apache.kafka.tools.AclCommand";
const FEATURES: &str = "org.apache.kafka.tools.FeatureCommand";
const CLUSTER: &str = "org.apache.kafka.tools.ClusterTool";
const DUMP_LOG: &str = "kafka.tools.DumpLogSegments";

/// The tools, and the broker they are pointed at.
struct Session {
    tools: Tools,
    peer: Peer,
    bootstrap: String,
}

impl Session {
    /// `None` where the tools cannot be had, after saying so.
    fn start(test: &str) -> Option<Session> {
        let tools = Tools::start().or_skip(test)?;
        let peer = Peer::start(BINARY, &["group.initial.rebalance.delay.ms=0"]).or_skip(test)?;
        let bootstrap = peer.bootstrap();
        Some(Session { tools, peer, bootstrap })
    }

    fn run(&mut self, tool: &str, arguments: &[&str]) -> String {
        self.run_with_input(tool, arguments, "")
    }

    fn run_with_input(&mut self, tool: &str, arguments: &[&str], input: &str) -> String {
        let bootstrap = self.bootstrap.clone();
        let address = ["--bootstrap-server", &bootstrap];
        // This one wants its sub-command first.
        let is_after = tool == CLUSTER;
        let arguments = match is_after {
            true => [arguments, &address[..]].concat(),
            false => [&address[..], arguments].concat(),
        };
        let output = self.tools.run_with_input(tool, &arguments, input);
        assert_eq!(
            output.status,
            0,
            "{tool} {arguments:?}\n{}\n{}",
            output.text,
            self.peer.report()
        );
        output.text
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.peer.save_golden("kafka-tools");
    }
}

/// Panics unless each of `wanted` is in `text`.
fn assert_has(text: &str, wanted: &[&str]) {
    for part in wanted {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

#[test]
fn topics_are_made_listed_described_grown_and_deleted() {
    let Some(mut session) = Session::start("kafka-topics") else { return };
    let created = session.run(
        TOPICS,
        &["--create", "--topic", "orders", "--partitions", "2", "--config", "retention.ms=60000"],
    );
    assert_has(&created, &["Created topic orders."]);
    let again = session.tools.run_with_input(
        TOPICS,
        &["--bootstrap-server", &session.bootstrap, "--create", "--topic", "orders"],
        "",
    );
    assert_has(&again.text, &["Topic 'orders' already exists."]);
    assert_eq!(again.status, 1, "{}", again.text);

    session.run(TOPICS, &["--create", "--topic", "other"]);
    let listed = session.run(TOPICS, &["--list", "--exclude-internal"]);
    assert_eq!(listed, "orders\nother");

    let described = session.run(TOPICS, &["--describe", "--topic", "orders"]);
    assert_has(
        &described,
        &[
            "Topic: orders",
            "TopicId: ",
            "PartitionCount: 2",
            "ReplicationFactor: 1",
            "retention.ms=60000",
            "Partition: 0",
            "Partition: 1",
            "Leader: ",
            "Isr: ",
        ],
    );

    session.run(TOPICS, &["--alter", "--topic", "orders", "--partitions", "5"]);
    let described = session.run(TOPICS, &["--describe", "--topic", "orders"]);
    assert_has(&described, &["PartitionCount: 5", "Partition: 4"]);

    session.run(TOPICS, &["--delete", "--topic", "orders"]);
    assert_eq!(session.run(TOPICS, &["--list", "--exclude-internal"]), "other");
}

#[test]
fn the_console_tools_write_and_read() {
    let Some(mut session) = Session::start("kafka-console") else { return };
    session.run(TOPICS, &["--create", "--topic", "lines", "--partitions", "2"]);
    let keyed =
        ["--topic", "lines", "--property", "parse.key=true", "--property", "key.separator=:"];
    session.run_with_input(CONSOLE_PRODUCER, &keyed, "a:1\nb:2\na:3\nc:4\n");

    let read = session.run(
        CONSOLE_CONSUMER,
        &[
            "--topic",
            "lines",
            "--from-beginning",
            "--max-messages",
            "4",
            "--timeout-ms",
            "20000",
            "--group",
            "readers",
            "--property",
            "print.key=true",
        ],
    );
    assert_has(&read, &["a\t1", "b\t2", "a\t3", "c\t4", "Processed a total of 4 messages"]);
    let nothing_left = session
        .run(CONSOLE_CONSUMER, &["--topic", "lines", "--group", "readers", "--timeout-ms", "1500"]);
    assert_has(&nothing_left, &["Processed a total of 0 messages"]);

    session.run(TOPICS, &["--create", "--topic", "one"]);
    session.run_with_input(CONSOLE_PRODUCER, &["--topic", "one"], "zero\none\ntwo\nthree\n");
    let from_two = session.run(
        CONSOLE_CONSUMER,
        &[
            "--topic",
            "one",
            "--partition",
            "0",
            "--offset",
            "2",
            "--max-messages",
            "2",
            "--timeout-ms",
            "20000",
            "--property",
            "print.offset=true",
        ],
    );
    assert_has(&from_two, &["Offset:2\ttwo", "Offset:3\tthree", "Processed a total of 2 messages"]);
}

/// The lines of a tool's tables with one space between columns.
fn columns(text: &str) -> String {
    let line = |line: &str| line.split_whitespace().collect::<Vec<&str>>().join(" ");
    text.lines().map(line).collect::<Vec<String>>().join("\n")
}

#[test]
fn groups_are_listed_described_reset_and_deleted() {
    let Some(mut session) = Session::start("kafka-consumer-groups") else { return };
    session.run(TOPICS, &["--create", "--topic", "lines", "--partitions", "1"]);
    session.run_with_input(CONSOLE_PRODUCER, &["--topic", "lines"], "a\nb\nc\nd\n");
    for protocol in ["classic", "consumer"] {
        let property = format!("group.protocol={protocol}");
        let read = ["--topic", "lines", "--from-beginning", "--max-messages", "3"];
        let with = ["--group", protocol, "--consumer-property", &property, "--timeout-ms", "20000"];
        session.run(CONSOLE_CONSUMER, &[&read[..], &with[..]].concat());
    }
    assert_eq!(sorted(&session.run(GROUPS, &["--list"])), ["classic", "consumer"]);
    let by_state = columns(&session.run(GROUPS, &["--list", "--state"]));
    assert_has(&by_state, &["GROUP STATE", "classic Empty", "consumer Empty"]);
    let by_type = columns(&session.run(GROUPS, &["--list", "--type"]));
    assert_has(&by_type, &["GROUP TYPE", "classic Classic", "consumer Consumer"]);
    assert_eq!(session.run(GROUPS, &["--list", "--type", "consumer"]).lines().count(), 2);

    for group in ["classic", "consumer"] {
        let described = columns(&session.run(GROUPS, &["--describe", "--group", group]));
        assert_has(
            &described,
            &[
                &format!("Consumer group '{group}' has no active members."),
                "GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG CONSUMER-ID HOST CLIENT-ID",
                &format!("{group} lines 0 3 4 1 - - -"),
            ],
        );
        let state = columns(&session.run(GROUPS, &["--describe", "--group", group, "--state"]));
        assert_has(
            &state,
            &["GROUP COORDINATOR (ID) ASSIGNMENT-STRATEGY STATE #MEMBERS", "Empty 0"],
        );
        let members = session.run(GROUPS, &["--describe", "--group", group, "--members"]);
        assert_has(&members, &[&format!("Consumer group '{group}' has no active members.")]);

        let to = |how: &[&'static str]| {
            let reset = ["--reset-offsets", "--group", group, "--topic", "lines"];
            [&reset[..], how].concat().into_iter().map(str::to_owned).collect::<Vec<String>>()
        };
        let mut reset = |how: &[&'static str]| {
            let arguments = to(how);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            columns(&session.run(GROUPS, &arguments))
        };
        let shown = reset(&["--to-earliest", "--dry-run"]);
        assert_has(&shown, &["GROUP TOPIC PARTITION NEW-OFFSET", &format!("{group} lines 0 0")]);
        assert_has(&reset(&["--shift-by", "-1", "--execute"]), &[&format!("{group} lines 0 2")]);
        let by_time = reset(&["--to-datetime", "2020-01-01T00:00:00.000", "--execute"]);
        assert_has(&by_time, &[&format!("{group} lines 0 0")]);
        assert_has(&reset(&["--to-offset", "1", "--execute"]), &[&format!("{group} lines 0 1")]);
        let described = columns(&session.run(GROUPS, &["--describe", "--group", group]));
        assert_has(&described, &[&format!("{group} lines 0 1 4 3 - - -")]);

        let forgotten =
            session.run(GROUPS, &["--delete-offsets", "--group", group, "--topic", "lines"]);
        assert_has(&columns(&forgotten), &["TOPIC PARTITION STATUS", "lines 0 Successful"]);
        let deleted = session.run(GROUPS, &["--delete", "--group", group]);
        let done = format!("Deletion of requested consumer groups ('{group}') was successful.");
        assert_has(&deleted, &[&done]);
    }
    assert_eq!(session.run(GROUPS, &["--list"]), "");
}

#[test]
fn transactions_are_listed_described_found_hanging_and_aborted() {
    let Some(mut session) = Session::start("kafka-transactions") else { return };
    session.run(TOPICS, &["--create", "--topic", "lines", "--partitions", "1"]);
    let mut wire = Wire::connect(&session.bootstrap).expect("the broker listens");
    let (id, epoch) = wire.open_transaction("payments", "lines").expect("the broker answers");

    let listed = columns(&session.run(TRANSACTIONS, &["list"]));
    assert_has(&listed, &["TransactionalId Coordinator ProducerId TransactionState"]);
    assert_has(&listed, &["payments ", &format!(" {id} Ongoing")]);
    let described =
        columns(&session.run(TRANSACTIONS, &["describe", "--transactional-id", "payments"]));
    assert_has(&described, &[&format!("payments {id} {epoch} Ongoing 60000 "), " lines-0"]);
    let place = ["--topic", "lines", "--partition", "0"];
    let producers = [&["describe-producers"], &place[..]].concat();
    let described = columns(&session.run(TRANSACTIONS, &producers));
    assert_has(&described, &[&format!("{id} {epoch} -1 0 ")]);
    assert!(described.ends_with(" 0"), "the transaction starts at offset 0:\n{described}");
    let hanging = [&["find-hanging", "--max-transaction-timeout", "0"], &place[..]].concat();
    let found = session.run(TRANSACTIONS, &hanging);
    assert_eq!(found.lines().count(), 1, "its coordinator knows it:\n{found}");

    // A coordinator that has lost its log knows of no transaction: this one hangs.
    session.run(TOPICS, &["--delete", "--topic", "__transaction_state"]);
    let found = columns(&session.run(TRANSACTIONS, &hanging));
    assert_has(&found, &[&format!("lines 0 {id} {epoch} -1 0 ")]);
    session.run(TRANSACTIONS, &[&["abort", "--start-offset", "0"], &place[..]].concat());
    let described = session.run(TRANSACTIONS, &producers);
    assert!(described.trim_end().ends_with("None"), "nothing is open any more:\n{described}");
    let found = session.run(TRANSACTIONS, &hanging);
    assert_eq!(found.lines().count(), 1, "{found}");
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn offsets_and_records_are_reported_and_trimmed() {
    let Some(mut session) = Session::start("kafka-get-offsets") else { return };
    session.run(TOPICS, &["--create", "--topic", "bulk", "--partitions", "1"]);
    let bootstrap = session.bootstrap.clone();
    let perf = session.tools.run(
        PRODUCER_PERF,
        &[
            "--topic",
            "bulk",
            "--num-records",
            "5000",
            "--record-size",
            "100",
            "--throughput",
            "-1",
            "--producer-props",
            &format!("bootstrap.servers={bootstrap}"),
            "acks=all",
        ],
    );
    assert_has(&perf, &["5000 records sent", "99.9th"]);
    assert_eq!(session.run(GET_OFFSETS, &["--topic", "bulk"]), "bulk:0:5000");

    let scratch = scratch_directory("delete-records");
    let file = scratch.path().join("offsets.json");
    fs::write(
        &file,
        r#"{"version":1,"partitions":[{"topic":"bulk","partition":0,"offset":1234}]}"#,
    )
    .expect("a new file");
    let file = file.display().to_string();
    let deleted = session.run(DELETE_RECORDS, &["--offset-json-file", &file]);
    assert_has(&deleted, &["partition: bulk-0", "low_watermark: 1234"]);
    let first = session.run(GET_OFFSETS, &["--topic", "bulk", "--time", "earliest"]);
    assert_eq!(first, "bulk:0:1234");
    let last = session.run(GET_OFFSETS, &["--topic", "bulk", "--time", "latest"]);
    assert_eq!(last, "bulk:0:5000");

    let directories = session.run(LOG_DIRS, &["--describe", "--topic-list", "bulk"]);
    assert_has(&directories, &["\"partition\":\"bulk-0\"", "\"size\":", "\"isFuture\":false"]);
}

#[test]
fn one_broker_has_nothing_to_elect_nowhere_to_move_and_no_acls() {
    let Some(mut session) = Session::start("kafka-leader-election") else { return };
    session.run(TOPICS, &["--create", "--topic", "still", "--partitions", "2"]);
    let preferred = ["--election-type", "preferred", "--topic", "still", "--partition", "1"];
    let elected = session.run(LEADER_ELECTION, &preferred);
    assert_has(&elected, &["Valid replica already elected for partitions still-1"]);
    let all =
        session.run(LEADER_ELECTION, &["--election-type", "unclean", "--all-topic-partitions"]);
    assert!(!all.contains("Error"), "{all}");

    let described = session.run(LOG_DIRS, &["--describe", "--topic-list", "still"]);
    let (_, from_id) = described.split_once("\"broker\":").expect("a broker is described");
    let broker: String = from_id.chars().take_while(char::is_ascii_digit).collect();
    let scratch = scratch_directory("reassign");
    let plan = |broker: &str| {
        let file = scratch.path().join(format!("to-{broker}.json"));
        let moves = format!(
            r#"{{"version":1,"partitions":[{{"topic":"still","partition":0,"replicas":[{broker}]}}]}}"#
        );
        fs::write(&file, moves).expect("a new file");
        file.display().to_string()
    };
    let here = plan(&broker);
    let file = ["--reassignment-json-file", here.as_str()];
    let executed = session.run(REASSIGN, &[&["--execute"], &file[..]].concat());
    assert_has(&executed, &["Successfully started partition reassignment for still-0"]);
    let verified = session.run(REASSIGN, &[&["--verify"], &file[..]].concat());
    assert_has(&verified, &["Reassignment of partition still-0 is completed."]);
    let listed = session.run(REASSIGN, &["--list"]);
    assert_has(&listed, &["No partition reassignments found."]);

    let bootstrap = session.bootstrap.clone();
    let acls =
        session.tools.run_with_input(ACLS, &["--bootstrap-server", &bootstrap, "--list"], "");
    assert_has(&acls.text, &["SecurityDisabledException", "No Authorizer is configured"]);
    let id = session.run(CLUSTER, &["cluster-id"]);
    assert_has(&id, &["Cluster ID: "]);
    let features = session.run(FEATURES, &["describe"]);
    assert_has(&features, &["transaction.version", "group.version", "metadata.version"]);
}

#[test]
fn configs_are_described_and_altered() {
    let Some(mut session) = Session::start("kafka-configs") else { return };
    session.run(TOPICS, &["--create", "--topic", "tuned"]);
    let topic = ["--entity-type", "topics", "--entity-name", "tuned"];
    let with = |more: &[&'static str]| [topic.as_slice(), more].concat();

    let altered = session.run(
        CONFIGS,
        &with(&["--alter", "--add-config", "retention.ms=60000,cleanup.policy=[compact,delete]"]),
    );
    assert_has(&altered, &["Completed updating config for topic tuned."]);
    let described = session.run(CONFIGS, &with(&["--describe"]));
    assert_has(
        &described,
        &[
            "Dynamic configs for topic tuned are:",
            "retention.ms=60000",
            "DYNAMIC_TOPIC_CONFIG",
            "cleanup.policy=compact,delete",
        ],
    );
    session.run(CONFIGS, &with(&["--alter", "--delete-config", "retention.ms"]));
    let described = session.run(CONFIGS, &with(&["--describe"]));
    assert!(!described.contains("retention.ms"), "{described}");
    let everything = session.run(CONFIGS, &with(&["--describe", "--all"]));
    assert_has(
        &everything,
        &["retention.ms=604800000", "max.message.bytes=1048588", "DEFAULT_CONFIG"],
    );

    let bootstrap = session.bootstrap.clone();
    let refused = session.tools.run_with_input(
        CONFIGS,
        &[
            &["--bootstrap-server", &bootstrap],
            topic.as_slice(),
            &["--alter", "--add-config", "retention.ms=soon"],
        ]
        .concat(),
        "",
    );
    assert_ne!(refused.status, 0, "{}", refused.text);
    assert_has(&refused.text, &["InvalidConfigurationException"]);

    let versions = session.run(API_VERSIONS, &[]);
    assert_has(&versions, &["Produce(0): 0 to 13 [usable: 13]", "Fetch(1): 4 to 18 [usable: 18]"]);
}

#[test]
fn broker_configs_are_described() {
    let Some(mut session) = Session::start("kafka-configs of a broker") else { return };
    let versions = session.run(API_VERSIONS, &[]);
    // The first line is `127.0.0.1:9092 (id: 1 rack: null isFenced: false) -> (`.
    let id = versions.split("(id: ").nth(1).and_then(|rest| rest.split(' ').next());
    let id = id.expect("a line with the broker's id");
    let described = session
        .run(CONFIGS, &["--entity-type", "brokers", "--entity-name", id, "--describe", "--all"]);
    assert_has(
        &described,
        &[
            "All configs for broker",
            "log.retention.hours=168",
            "log.segment.bytes=1073741824",
            "message.max.bytes=1048588",
            "auto.create.topics.enable=true",
            "STATIC_BROKER_CONFIG",
        ],
    );
}

/// The non-empty segment files under a directory.
fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a data directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(segments(&path));
        } else if path.extension().is_some_and(|extension| extension == "log")
            && path.file_stem().is_some_and(|stem| stem.len() == 20)
            && entry.metadata().is_ok_and(|metadata| metadata.len() > 0)
        {
            found.push(path);
        }
    }
    found
}

/// What DumpLogSegments reads in all segments: a line for each record with `payload: `.
fn dump(tools: &mut Tools, directory: &Path) -> String {
    let mut files: Vec<String> =
        segments(directory).iter().map(|path| path.display().to_string()).collect();
    files.sort();
    assert!(!files.is_empty(), "no segments under {}", directory.display());
    let files = files.join(",");
    tools.run(DUMP_LOG, &["--files", &files, "--print-data-log", "--deep-iteration"])
}

fn produce_lines(tools: &mut Tools, bootstrap: &str, codec: &str, lines: std::ops::Range<u32>) {
    let input: String = lines.map(|n| format!("{codec}-line-{n}\n")).collect();
    let output = tools.run_with_input(
        CONSOLE_PRODUCER,
        &["--bootstrap-server", bootstrap, "--topic", "dumped", "--compression-codec", codec],
        &input,
    );
    assert_eq!(output.status, 0, "{}", output.text);
}

/// Every record that was acknowledged is in the dump, batch by batch as it was sent.
fn assert_dumped(text: &str, codec: &str, lines: std::ops::Range<u32>) {
    assert_has(text, &[&format!("compresscodec: {codec}"), "isvalid: true"]);
    assert!(!text.contains("isvalid: false"), "{text}");
    let payloads: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once("payload: "))
        .map(|(_, value)| value)
        .collect();
    for line in lines {
        let wanted = format!("{codec}-line-{line}");
        assert!(payloads.contains(&wanted.as_str()), "no {wanted} in:\n{text}");
    }
}

#[test]
fn dump_log_segments_reads_our_files_after_a_stop_and_after_a_kill() {
    let Some(mut tools) = Tools::start().or_skip("DumpLogSegments") else { return };
    let mut broker = Broker::start(BINARY, &[]);
    let bootstrap = broker.bootstrap();
    tools.run(TOPICS, &["--bootstrap-server", &bootstrap, "--create", "--topic", "dumped"]);

    produce_lines(&mut tools, &bootstrap, "lz4", 0..200);
    broker.stop();
    assert_dumped(&dump(&mut tools, &broker.data_directory()), "lz4", 0..200);

    broker.restart();
    produce_lines(&mut tools, &bootstrap, "zstd", 0..200);
    broker.kill();
    broker.restart();
    let end = tools.run(GET_OFFSETS, &["--bootstrap-server", &bootstrap, "--topic", "dumped"]);
    assert_eq!(end, "dumped:0:400");
    broker.stop();
    let text = dump(&mut tools, &broker.data_directory());
    assert_dumped(&text, "lz4", 0..200);
    assert_dumped(&text, "zstd", 0..200);
}

/// Runs kcat with `arguments`, its input from `input`, and returns what it wrote.
fn run_kcat(bootstrap: &str, arguments: &[&str]) -> Option<String> {
    let mut command = kcat().or_skip("kcat")?;
    command.args(["-b", bootstrap, "-X", "topic.metadata.refresh.fast.interval.ms=50"]);
    command.args(arguments);
    let finished = run_to_end(command, Duration::from_secs(30)).expect("kcat was installed");
    assert!(finished.is_success(), "kcat {arguments:?}\n{}{}", finished.stdout, finished.stderr);
    println!("kcat {arguments:?}\n{}{}", finished.stdout, finished.stderr);
    Some(finished.stdout)
}

#[test]
fn kcat_lists_produces_consumes_and_queries() {
    let Some(peer) = Peer::start(BINARY, &[]).or_skip("kcat") else { return };
    let bootstrap = peer.bootstrap();
    let scratch = scratch_directory("kcat");
    let lines = scratch.path().join("lines");
    fs::write(&lines, "k1=one\nk2=two\nk1=three\n").expect("a new file");
    let lines = lines.display().to_string();
    // The topic is made by the first Metadata request: auto-create is on.
    let produce = ["-P", "-t", "cat", "-p", "0", "-K=", "-z", "snappy", "-l", &lines];
    let Some(_) = run_kcat(&bootstrap, &produce) else { return };

    let listed = run_kcat(&bootstrap, &["-L"]).expect("installed above");
    assert_has(
        &listed,
        &["1 brokers:", "topic \"cat\" with 1 partitions:", "partition 0, leader "],
    );
    let consume = ["-C", "-t", "cat", "-p", "0", "-o", "1", "-e", "-f", "%o %k %s\n"];
    let read = run_kcat(&bootstrap, &consume).expect("installed above");
    assert_eq!(read, "1 k2 two\n2 k1 three\n");
    let asked = run_kcat(&bootstrap, &["-Q", "-t", "cat:0:-1"]).expect("installed above");
    assert_has(&asked, &["cat [0] offset 3"]);
    let asked = run_kcat(&bootstrap, &["-Q", "-t", "cat:0:-2"]).expect("installed above");
    assert_has(&asked, &["cat [0] offset 0"]);
}
