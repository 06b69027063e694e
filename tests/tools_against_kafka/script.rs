//! Reads a script: command lines, and what has to be there before they run.
//!
//! `$ kafka-topics.sh --list` is a command line; the address of the broker is added to it, `{name}`
//! is a file made by `@ file`, and ` < text` what it reads. Lines with `#` are headings.

/// Where a tool wants `--bootstrap-server`.
#[derive(Clone, Copy)]
pub(crate) enum Address {
    First,
    /// Behind its sub-command.
    Last,
    /// The line names the broker by itself, as `{host}` or `{bootstrap}`, or needs none.
    Named,
}

/// A script of Kafka's `bin` directory.
#[derive(Clone, Copy)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) class: &'static str,
    pub(crate) address: Address,
}

const fn tool(name: &'static str, class: &'static str, address: Address) -> Tool {
    Tool { name, class, address }
}

use Address::{First, Last, Named};

#[rustfmt::skip]
const TOOLS: &[Tool] = &[
    tool("kafka-topics.sh", "org.apache.kafka.tools.TopicCommand", First),
    tool("kafka-console-producer.sh", "org.apache.kafka.tools.ConsoleProducer", First),
    tool("kafka-console-consumer.sh", "org.apache.kafka.tools.consumer.ConsoleConsumer", First),
    tool("kafka-get-offsets.sh", "org.apache.kafka.tools.GetOffsetShell", First),
    tool("kafka-delete-records.sh", "org.apache.kafka.tools.DeleteRecordsCommand", First),
    tool("kafka-configs.sh", "kafka.admin.ConfigCommand", First),
    tool("kafka-client-metrics.sh", "org.apache.kafka.tools.ClientMetricsCommand", First),
    tool("kafka-consumer-groups.sh", "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", First),
    tool("kafka-groups.sh", "org.apache.kafka.tools.GroupsCommand", First),
    tool("kafka-producer-perf-test.sh", "org.apache.kafka.tools.ProducerPerformance", Named),
    tool("kafka-consumer-perf-test.sh", "org.apache.kafka.tools.ConsumerPerformance", First),
    tool("kafka-e2e-latency.sh", "org.apache.kafka.tools.EndToEndLatency", Named),
    tool("kafka-verifiable-producer.sh", "org.apache.kafka.tools.VerifiableProducer", First),
    tool("kafka-verifiable-consumer.sh", "org.apache.kafka.tools.VerifiableConsumer", First),
    tool("kafka-log-dirs.sh", "org.apache.kafka.tools.LogDirsCommand", First),
    tool("kafka-leader-election.sh", "org.apache.kafka.tools.LeaderElectionCommand", First),
    tool("kafka-reassign-partitions.sh", "org.apache.kafka.tools.reassign.ReassignPartitionsCommand", First),
    tool("kafka-transactions.sh", "org.apache.kafka.tools.TransactionsCommand", First),
    tool("kafka-share-groups.sh", "org.apache.kafka.tools.consumer.group.ShareGroupCommand", First),
    tool("kafka-console-share-consumer.sh", "org.apache.kafka.tools.consumer.ConsoleShareConsumer", First),
    tool("kafka-cluster.sh", "org.apache.kafka.tools.ClusterTool", Last),
    tool("kafka-metadata-quorum.sh", "org.apache.kafka.tools.MetadataQuorumCommand", First),
    tool("kafka-features.sh", "org.apache.kafka.tools.FeatureCommand", First),
    tool("kafka-broker-api-versions.sh", "org.apache.kafka.tools.BrokerApiVersionsCommand", First),
    tool("kafka-acls.sh", "org.apache.kafka.tools.AclCommand", First),
    tool("kafka-delegation-tokens.sh", "org.apache.kafka.tools.DelegationTokenCommand", First),
    tool("kafka-streams-application-reset.sh", "org.apache.kafka.tools.StreamsResetter", First),
    tool("kafka-dump-log.sh", "kafka.tools.DumpLogSegments", Named),
];

/// One command line.
pub(crate) struct Line {
    /// As it stands in the script.
    pub(crate) text: String,
    pub(crate) tool: Tool,
    pub(crate) arguments: Vec<String>,
    pub(crate) input: String,
}

impl Line {
    /// Whether it changes nothing and so may run again.
    pub(crate) fn is_read(&self) -> bool {
        let is_read =
            |word: &String| ["--list", "--describe", "list", "describe"].contains(&&**word);
        self.arguments.iter().any(is_read) || self.tool.name == "kafka-get-offsets.sh"
    }
}

/// One line of a script.
pub(crate) enum Step {
    Run(Line),
    File { name: String, text: String },
    Member { group: String, topic: String, protocol: &'static str },
    MembersLeave,
    Group { name: String },
    Transaction { id: String, topic: String },
    Segment { topic: String },
    Stop,
}

pub(crate) fn parse(script: &str) -> Vec<Step> {
    let is_step = |line: &&str| !line.is_empty() && !line.starts_with('#');
    script.lines().map(str::trim).filter(is_step).map(step).collect()
}

fn step(line: &str) -> Step {
    if let Some(command) = line.strip_prefix("$ ") {
        return Step::Run(command_line(command));
    }
    let rest = line.strip_prefix("@ ").unwrap_or_else(|| panic!("neither $ nor @: {line}"));
    if let Some(rest) = rest.strip_prefix("file ") {
        let (name, text) = rest.split_once(' ').expect("a name and its text");
        return Step::File { name: name.to_owned(), text: text.to_owned() };
    }
    let words: Vec<&str> = rest.split(' ').collect();
    let member = |group: &str, topic: &str, protocol| Step::Member {
        group: group.to_owned(),
        topic: topic.to_owned(),
        protocol,
    };
    match words[..] {
        ["member", group, topic] => member(group, topic, "classic"),
        ["member-new", group, topic] => member(group, topic, "consumer"),
        ["members-leave"] => Step::MembersLeave,
        ["group", name] => Step::Group { name: name.to_owned() },
        ["transaction", id, topic] => {
            Step::Transaction { id: id.to_owned(), topic: topic.to_owned() }
        }
        ["segment", topic] => Step::Segment { topic: topic.to_owned() },
        ["stop"] => Step::Stop,
        _ => panic!("no such step: {line}"),
    }
}

fn command_line(text: &str) -> Line {
    let (command, input) = text.split_once(" < ").unwrap_or((text, ""));
    let mut words = command.split(' ').map(str::to_owned);
    let name = words.next().expect("a command");
    let tool = TOOLS.iter().find(|tool| tool.name == name);
    Line {
        text: text.to_owned(),
        tool: *tool.unwrap_or_else(|| panic!("{name} is not in the list of tools")),
        arguments: words.collect(),
        input: input.replace("\\n", "\n").replace("\\t", "\t"),
    }
}
