//! Takes out of a tool's output what two runs cannot have in common: ids, times, places, durations.

use std::path::Path;

use regex::Regex;

use crate::script::Line;

/// What is replaced everywhere, and by what.
const EVERYWHERE: &[(&str, &str)] = &[
    // Topic and member ids, as Java writes them and in base64url.
    (r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", "UUID"),
    (r"(TopicId: |Cluster ID: |topicId=|clusterId=)[A-Za-z0-9_-]{22}", "${1}ID"),
    (r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d:\d\d([.,:]\d+)?Z?)?", "TIME"),
    (r"\b\d\d:\d\d:\d\d\.\d{3}\b", "TIME"),
    (r"\b1[789]\d{11}\b", "TIME"),
    (r"[A-Za-z0-9_+/-]{22} /127", "UUID /127"),
    (r"Member [A-Za-z0-9_-]{22} with", "Member UUID with"),
    (r"\bperf 1 \d+", "perf 1 N"),
    (r" 60000 TIME \d+", " 60000 TIME N"),
    // A batch's size hangs on how many milliseconds lie between its records.
    (r"\bcrc: \d+", "crc: N"),
    (r"\bsize: \d+", "size: N"),
    (r"\bposition: [1-9]\d*", "position: N"),
    (r#""size":[1-9]\d*"#, r#""size":N"#),
    (r"\bproducerId: \d+", "producerId: N"),
    (r"\bEpoch: \d+$", "Epoch: N"),
    (r"adminclient-\d+", "adminclient-N"),
    // A newly formatted Kafka stores this one as dynamic default of all brokers.
    (r"(Configs: .*)min\.insync\.replicas=1,", "$1"),
    (r"Configs: min\.insync\.replicas=1$", "Configs:"),
    (r"\{DYNAMIC_DEFAULT_BROKER_CONFIG:min\.insync\.replicas=1, ", "{"),
    (r" DYNAMIC_DEFAULT_BROKER_CONFIG:min\.insync\.replicas=1, ", " "),
];

/// Lines that say where in a tool's code it failed.
const STACK: [&str; 2] = ["at ", "... "];

/// Tools whose figures are measurements: of each number only its being there is compared.
const MEASURING: [&str; 3] =
    ["kafka-producer-perf-test.sh", "kafka-consumer-perf-test.sh", "kafka-e2e-latency.sh"];

/// Tools that print what a broker keeps in no order.
const UNORDERED: [&str; 6] = [
    "kafka-consumer-groups.sh",
    "kafka-groups.sh",
    "kafka-log-dirs.sh",
    "kafka-transactions.sh",
    "kafka-configs.sh --entity-type",
    "kafka-topics.sh --describe",
];

/// The id of the producer whose transaction is open.
pub(crate) const PRODUCER: &str = "PRODUCER";

/// What is masked in the output of one broker's tools.
pub(crate) struct Mask {
    hidden: Vec<(String, &'static str)>,
    everywhere: Vec<(Regex, &'static str)>,
    measured: Regex,
}

impl Mask {
    pub(crate) fn new(bootstrap: &str, data: &Path) -> Mask {
        let compile = |pattern| Regex::new(pattern).expect("a pattern of this file");
        let (_, port) = bootstrap.split_once(':').expect("host:port");
        Mask {
            hidden: vec![
                (data.display().to_string(), "DATA"),
                (bootstrap.to_owned(), "BROKER"),
                (port.to_owned(), "PORT"),
            ],
            everywhere: EVERYWHERE.iter().map(|(from, to)| (compile(from), *to)).collect(),
            measured: compile(r"\d+(\.\d+)?"),
        }
    }

    /// From now on this text, where it is a whole word, counts as `name`.
    pub(crate) fn hide(&mut self, text: &str, name: &'static str) {
        self.hidden.insert(0, (text.to_owned(), name));
    }

    /// The lines of an output that two brokers can have in common.
    pub(crate) fn lines(&self, line: &Line, text: &str) -> Vec<String> {
        // The elements of a JSON array that has no order.
        let text = text.replace("{\"partition\"", "\n{\"partition\"");
        let is_kept = |line: &&str| {
            let line = line.trim();
            !line.is_empty() && !STACK.iter().any(|stack| line.starts_with(stack))
        };
        let mut lines: Vec<String> =
            text.lines().filter(is_kept).map(|one| self.masked(line, one)).collect();
        if UNORDERED.iter().any(|tool| line.text.starts_with(tool)) {
            lines.sort_unstable();
        }
        lines
    }

    fn masked(&self, line: &Line, text: &str) -> String {
        let mut text = text.split_whitespace().collect::<Vec<&str>>().join(" ");
        for (hidden, name) in &self.hidden {
            // A producer's id is a small number.
            if *name != PRODUCER || line.tool.name == "kafka-transactions.sh" {
                text = replace_word(&text, hidden, name);
            }
        }
        for (pattern, name) in &self.everywhere {
            text = pattern.replace_all(&text, *name).into_owned();
        }
        if MEASURING.contains(&line.tool.name) {
            let is_given = |number: &str| line.arguments.iter().any(|given| given == number);
            let count = |number: &regex::Captures<'_>| match is_given(&number[0]) {
                true => number[0].to_owned(),
                false => "N".to_owned(),
            };
            text = self.measured.replace_all(&text, count).into_owned();
        }
        text.trim_end_matches(',').to_owned()
    }
}

/// Replaces `word` where no letter or digit stands before or behind it.
fn replace_word(text: &str, word: &str, name: &str) -> String {
    let is_inside = |char: Option<char>| char.is_some_and(char::is_alphanumeric);
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (at, _) in text.match_indices(word) {
        let end = at + word.len();
        let is_whole =
            !is_inside(text[..at].chars().next_back()) && !is_inside(text[end..].chars().next());
        out.push_str(&text[done..at]);
        out.push_str(if is_whole { name } else { word });
        done = end;
    }
    out + &text[done..]
}

#[test]
fn ids_times_places_and_measurements_are_masked() {
    let mut mask = Mask::new("127.0.0.1:4711", Path::new("/data"));
    mask.hide("3", PRODUCER);
    let line = |text: &str| match crate::script::parse(text).remove(0) {
        crate::script::Step::Run(line) => line,
        _ => unreachable!("a command line"),
    };
    let list = line("$ kafka-transactions.sh list");
    let text = "Topic: a\tTopicId: aGlnaHdhdGVyLXRlc3RzMQ at 127.0.0.1:4711\n\tat java.Thread\n\
        [2026-11-21 10:00:00,123] 3 33 /data/a-0 1795000000000\n";
    assert_eq!(
        mask.lines(&list, text),
        ["Topic: a TopicId: ID at BROKER", "[TIME] PRODUCER 33 DATA/a-0 TIME"]
    );
    let perf = line("$ kafka-producer-perf-test.sh --num-records 2000");
    assert_eq!(mask.lines(&perf, "2000 records, 17.25 ms"), ["2000 records, N ms"]);
}
