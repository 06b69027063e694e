//! docs/compatibility.md: what the dispatch table serves, beside what Apache Kafka 4.1 advertises,
//! and the clients that run against the binary.

#[path = "../against_kafka/differences.rs"]
mod differences;

#[path = "../tools_against_kafka/differences.rs"]
mod tool_differences;

use differences::DIFFERENCES;
use highwater::api::dispatch::SERVED;
use highwater::protocol::api_key::ApiKey;
use std::fmt::Write;
use std::path::Path;
use tool_differences::DIFFERENCES as TOOL_DIFFERENCES;

const HEAD: &str = "\
# Compatibility

Written from `src/api/dispatch.rs` and the lists under `tests/clients` by `tests/docs.rs`; do not
edit.

## APIs and versions

*Kafka 4.1* is what a broker of Apache Kafka 4.1 advertises on a client's listener, read from the
message definitions in its own client library (stable versions; keys 71 and 72 need a plugin there
and are left out). An API that is not served is not advertised: clients fall back or say so.

| Key | API | Kafka 4.1 | Highwater | |
|---|---|---|---|---|
";

/// Key, first and last version of what Kafka 4.1 advertises; Produce as ApiVersions answers it.
#[rustfmt::skip]
const KAFKA_4_1: &[(i16, i16, i16)] = &[
    (0, 0, 13), (1, 4, 18), (2, 1, 10), (3, 0, 13), (8, 2, 9), (9, 1, 9), (10, 0, 6), (11, 0, 9),
    (12, 0, 4), (13, 0, 5), (14, 0, 5), (15, 0, 6), (16, 0, 5), (17, 0, 1), (18, 0, 4), (19, 2, 7),
    (20, 1, 6), (21, 0, 2), (22, 0, 5), (23, 2, 4), (24, 0, 5), (25, 0, 4), (26, 0, 5), (27, 1, 1),
    (28, 0, 5), (29, 1, 3), (30, 1, 3), (31, 1, 3), (32, 1, 4), (33, 0, 2), (34, 1, 2), (35, 1, 4),
    (36, 0, 2), (37, 0, 3), (38, 1, 3), (39, 1, 2), (40, 1, 2), (41, 1, 3), (42, 0, 2), (43, 0, 2),
    (44, 0, 1), (45, 0, 1), (46, 0, 0), (47, 0, 0), (48, 0, 1), (49, 0, 1), (50, 0, 0), (51, 0, 0),
    (55, 0, 2), (57, 0, 2), (60, 0, 2), (61, 0, 0), (64, 0, 0), (65, 0, 0), (66, 0, 2), (68, 0, 1),
    (69, 0, 1), (74, 0, 1), (75, 0, 0), (76, 1, 1), (77, 1, 1), (78, 1, 1), (79, 1, 1), (80, 0, 0),
    (81, 0, 0), (83, 0, 0), (84, 0, 0), (85, 0, 0), (86, 0, 0), (87, 0, 0), (90, 0, 0), (91, 0, 0),
    (92, 0, 0),
];

/// What an API that is not served belongs to.
const AREAS: &[(&[i16], &str)] = &[
    (&[17, 36], "SASL"),
    (&[38, 39, 40, 41], "delegation tokens"),
    (&[50, 51], "SCRAM users"),
    (&[48, 49], "quotas"),
];

/// What brokers ask each other about states of share groups; Kafka advertises it to clients too.
const BETWEEN_BROKERS: &[i16] = &[83, 84, 85, 86, 87];

const NO_AUTHORIZER: &str = "SECURITY_DISABLED, as Kafka without an authorizer";

/// Where we differ although the versions are the same, and how.
const NOTES: &[(ApiKey, &str)] = &[
    (
        ApiKey::Produce,
        "0 to 2 are advertised for old librdkafka (KAFKA-18659) and close the connection, as in \
        Kafka 4.1; only coordinators write internal topics (Kafka lets client id __admin_client)",
    ),
    (ApiKey::DescribeAcls, NO_AUTHORIZER),
    (ApiKey::CreateAcls, NO_AUTHORIZER),
    (ApiKey::DeleteAcls, NO_AUTHORIZER),
    (ApiKey::AlterReplicaLogDirs, "a broker has one log directory"),
    (
        ApiKey::UpdateFeatures,
        "nothing depends on the level of `metadata.version`; a process that tells no range of a \
        feature supports no level of it",
    ),
    (ApiKey::AddRaftVoter, "a voter is reached as it registered; other listeners are refused"),
];

fn versions(min: i16, max: i16) -> String {
    if min == max { min.to_string() } else { format!("{min} to {max}") }
}

fn remark(key: ApiKey, kafka: (i16, i16), ours: Option<(i16, i16)>) -> String {
    let note = NOTES.iter().find(|(noted, _)| *noted == key).map(|(_, note)| *note);
    let area = || AREAS.iter().find(|(keys, _)| keys.contains(&key.number())).map(|area| area.1);
    match ours {
        None if BETWEEN_BROKERS.contains(&key.number()) => {
            "served between brokers, and advertised to nobody".to_owned()
        }
        None => format!("{} are not here", area().expect("every key has an area")),
        Some(ours) if ours == kafka => note.unwrap_or_default().to_owned(),
        Some((_, max)) => note
            .map_or_else(|| format!("fewer versions: up to {max} of {}", kafka.1), str::to_owned),
    }
}

pub(crate) fn page() -> String {
    let mut page = HEAD.to_owned();
    for (number, min, max) in KAFKA_4_1 {
        let key = ApiKey::from_number(*number).expect("a key of Kafka 4.1");
        let served =
            SERVED.iter().find(|range| range.key == key).map(|range| (range.min, range.max));
        let ours = served.map_or_else(|| "-".to_owned(), |(min, max)| versions(min, max));
        let (name, kafka) = (key.name(), versions(*min, *max));
        let remark = remark(key, (*min, *max), served);
        writeln!(page, "| {number} | {name} | {kafka} | {ours} | {remark} |").unwrap();
    }
    let served = SERVED.iter().filter(|range| !range.key.is_own()).count();
    let odd_cases = number_after("tests/against_kafka.rs", "const CASES_MIN: usize = ");
    let cases = number_after("tests/clients.rs", "const CASES: usize = ");
    write!(
        page,
        "\n{served} of {} APIs are served. Keys from 20000 are ours: DescribeLatency, what \
        `highwater latency`\nasks, and DescribeBrokers for `highwater cluster status`; ApiVersions \
        tells\nof them only to clients whose software is called highwater.\n\n{}\n\
        ## Clients\n\n\
        Each library below runs the same {cases} cases against the binary (`tests/clients.rs`), \
        unmodified,\nin the version its registry has under this number.\n\n\
        | Library | Version |\n|---|---|\n",
        KAFKA_4_1.len(),
        answers(&odd_cases),
    )
    .unwrap();
    for (library, version) in clients() {
        writeln!(page, "| {library} | {version} |").unwrap();
    }
    let tools = version_of("tests/clients/java/kafka/pom.xml", "<version>", 1);
    let later = version_of("tests/clients/java/clients44/pom.xml", "<version>", 1);
    write!(
        page,
        "\nEach also runs transactions (`tests/transactions.rs`): commits and aborts, offsets within a \
        transaction,\nfencing, a broker killed in the middle. The newer kafka-clients and franz-go \
        take an epoch for each\ntransaction (`transaction.version` 2, KIP-890), the others one for \
        each producer.\n\n\
        Share groups (KIP-932) are read by kafka-clients {tools} and {later}, by \
        confluent-kafka's ShareConsumer, franz-go and\n`kafka-console-share-consumer.sh` \
        (`tests/share_groups.rs`).\n\n\
        The command-line tools of Apache Kafka {tools} and kcat run in `tests/kafka_tools.rs`, \
        DumpLogSegments\nagainst the files of a stopped and of a killed broker among them.\n\n{}\n{}",
        ecosystem(),
        command_lines(),
    )
    .unwrap();
    page
}

/// Where odd requests get other answers than from Kafka, from the list that the test is held to.
fn answers(cases: &str) -> String {
    let mut section = format!(
        "## Answers\n\nMore than {cases} requests, odd ones above all, go to Highwater and to \
        Apache Kafka 4.1 alike\n(`tests/against_kafka.rs`), and the answers agree but for these. \
        The words of an error are each\nbroker's own, and `log_start_offset` of a refused batch \
        may be -1.\n\n| What is asked | How and why the answer differs |\n|---|---|\n"
    );
    for difference in DIFFERENCES {
        assert!(!difference.cases.is_empty(), "{}", difference.what);
        writeln!(section, "| {} | {} |", difference.what, difference.reason).unwrap();
    }
    section
}

/// What is built on the clients, from the lists that the tests install.
fn ecosystem() -> String {
    let pom = |name: &str| format!("tests/clients/java/{name}/pom.xml");
    let first = |name: &str| version_of(&pom(name), "<version>", 1);
    let flink = version_of(&pom("flink"), "flink-clients</artifactId>\n      <version>", 0);
    let connector =
        version_of(&pom("flink"), "flink-connector-kafka</artifactId>\n      <version>", 0);
    format!(
        "## What is built on the clients\n\nUnmodified against the binary (`tests/ecosystem.rs`), \
        every record compared.\n\n| System | Version | What runs |\n|---|---|---|\n\
        | Kafka Streams | {} | a count, and exactly_once_v2; broker and application killed |\n\
        | Kafka Connect | {} | exactly-once source and a sink, distributed; worker killed |\n\
        | Flink | {flink}, connector {connector} | source to exactly-once sink; the job fails \
        twice and goes on from a checkpoint |\n\
        | Spark | {} | batch reads of ranges of offsets; a streaming query, twice, from its \
        checkpoints |\n",
        first("streams"),
        first("connect"),
        first("spark"),
    )
}

/// Where a command line prints something else, from the list that the test is held to.
fn command_lines() -> String {
    let lines = number_after("tests/tools_against_kafka.rs", "const LINES_MIN: usize = ");
    let mut section = format!(
        "## Command lines\n\nMore than {lines} lines of Kafka's command-line tools, wrong ones \
        among them, run against Highwater\nand against Apache Kafka 4.1 \
        (`tests/tools_against_kafka.rs`). Both print the same, apart from ids,\ntimes and places, \
        but for these.\n\n| Command line | How and why the output differs |\n|---|---|\n"
    );
    for difference in TOOL_DIFFERENCES {
        let is_known = !difference.commands.is_empty() && !difference.lines.is_empty();
        let is_sign = |end: char| end.is_ascii_punctuation();
        assert!(is_known && difference.common_up_to.is_none_or(is_sign), "{}", difference.what);
        writeln!(section, "| {} | {} |", difference.what, difference.reason).unwrap();
    }
    section
}

/// Libraries and versions, from the lists that the tests install.
fn clients() -> Vec<(&'static str, String)> {
    let python = "tests/clients/python/requirements.txt";
    let go = "tests/clients/go/go.mod";
    vec![
        ("kafka-clients (Java)", version_of("tests/clients/java/kafka/pom.xml", "<version>", 1)),
        (
            "kafka-clients (Java)",
            version_of("tests/clients/java/clients39/pom.xml", "<version>", 1),
        ),
        ("confluent-kafka (librdkafka, Python)", version_of(python, "confluent-kafka==", 0)),
        ("kafka-python", version_of(python, "kafka-python==", 0)),
        ("aiokafka", version_of(python, "aiokafka==", 0)),
        ("kafkajs (Node)", version_of("tests/clients/node/package.json", "\"kafkajs\": \"", 0)),
        ("franz-go", version_of(go, "github.com/twmb/franz-go v", 0)),
        ("sarama (Go)", version_of(go, "github.com/IBM/sarama v", 0)),
    ]
}

/// The dotted number behind the occurrence of `mark` that has `skip` before it.
fn version_of(file: &str, mark: &str, skip: usize) -> String {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let after = text.split(mark).nth(skip + 1);
    let after = after.unwrap_or_else(|| panic!("{file} names `{mark}`"));
    after.chars().take_while(|char| char.is_ascii_digit() || *char == '.').collect()
}

fn number_after(file: &str, mark: &str) -> String {
    version_of(file, mark, 0)
}

#[test]
fn every_served_api_is_one_that_kafka_has_and_in_no_more_versions() {
    for range in SERVED.iter().filter(|range| !range.key.is_own()) {
        let kafka = KAFKA_4_1.iter().find(|(number, ..)| *number == range.key.number());
        let (_, min, max) = kafka.unwrap_or_else(|| panic!("{} is of Kafka 4.1", range.key.name()));
        assert!(*min <= range.min && range.max <= *max, "{}", range.key.name());
    }
}

#[test]
fn a_key_that_is_served_in_fewer_versions_says_so() {
    assert_eq!(remark(ApiKey::Fetch, (4, 18), Some((4, 17))), "fewer versions: up to 17 of 18");
    assert_eq!(remark(ApiKey::Fetch, (4, 18), Some((4, 18))), "");
    assert_eq!(remark(ApiKey::AlterClientQuotas, (0, 1), None), "quotas are not here");
}
