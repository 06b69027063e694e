//! The brokers and their hosts, and how each fault begins and ends.

use crate::faults::{Fault, HOSTS, SMALL_DISK, Step};
use crate::surgery::operate;
use harness::{Cluster, MountNamespace, Network, Wire, wait_until};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

const PATIENCE: Duration = Duration::from_secs(90);
/// Of the brokers' own topics, which are compacted.
const INTERNAL: &str = "__";
const SETTINGS: [&str; 3] =
    ["min.insync.replicas=2", "group.min.session.timeout.ms=1000", "num.partitions=3"];
/// So that soon there are segments that are written no more.
const SEGMENT_MS: &str = "5000";
/// Enough for an hour's records after their journal, and soon filled.
const MOUNT: &str = "mount -t tmpfs -o size=600m tmpfs \"$DATA\"";
const FILL: &str = "dd if=/dev/zero of=\"$DATA/foreign\" bs=1M 2>/dev/null || true";
const EMPTY: &str = "rm -f \"$DATA/foreign\"";

pub(crate) struct Hosts<'n> {
    network: &'n Network,
    cluster: Cluster,
    small_disk: MountNamespace,
    /// Topics by the name of their folder.
    folders: BTreeMap<String, String>,
    /// Segments that hold something else than they held, with their host.
    wounds: Vec<(usize, PathBuf)>,
}

impl Hosts<'_> {
    pub(crate) fn start<'n>(binary: &str, network: &'n Network) -> Hosts<'n> {
        let mut cluster = Cluster::prepare(binary, HOSTS, &SETTINGS);
        let data = cluster.broker(SMALL_DISK).data_directory();
        let small_disk = MountNamespace::mount(&data, MOUNT);
        for host in 1..=HOSTS {
            let mut launcher = network.launcher(host);
            if host == SMALL_DISK {
                launcher.extend(small_disk.launcher());
            }
            let launcher: Vec<&str> = launcher.iter().map(String::as_str).collect();
            let broker = cluster.broker(host);
            broker.launch_with(&launcher);
            broker.live_at(&network.address(host));
        }
        cluster.start_all();
        let (folders, wounds) = (BTreeMap::new(), Vec::new());
        Hosts { network, cluster, small_disk, folders, wounds }
    }

    pub(crate) fn make_topics(&self, topics: &[&str]) {
        for topic in topics {
            self.cluster.create_topic(topic, 3, &[("segment.ms", SEGMENT_MS)]);
        }
    }

    pub(crate) fn bootstrap(&self) -> String {
        self.cluster.bootstrap()
    }

    pub(crate) fn report(&self) -> String {
        self.cluster.report()
    }

    pub(crate) fn go_through(&mut self, step: &Step) {
        for fault in &step.faults {
            self.begin(*fault);
        }
        // Nothing ends it earlier.
        drop(wait_until("the time of the faults", step.hold, || None::<()>));
        for fault in &step.faults {
            self.end(*fault);
        }
    }

    /// Waits until each of these topics has records: what writes them is under way.
    pub(crate) fn wait_until_written(&self, topics: &[&str]) {
        let is_written = |topic: &str| {
            let address = self.bootstrap();
            address.split(',').any(|address| {
                let wire = Wire::connect_within(address, PATIENCE);
                wire.and_then(|mut wire| wire.end_offset(topic, 0))
                    .is_ok_and(|end| end.is_ok_and(|end| end > 0))
            })
        };
        let written = wait_until("the first records", PATIENCE, || {
            topics.iter().all(|topic| is_written(topic)).then_some(())
        });
        written.unwrap_or_else(|late| panic!("{late}\n{}", self.report()));
    }

    /// Waits until every replica is in sync, and until a broker whose files were harmed gives
    /// everything that it gave: whatever happened, it is over.
    pub(crate) fn wait_until_well(&mut self, topics: &[&str]) {
        self.cluster.wait_until_whole(topics);
        for topic in topics {
            if !self.folders.values().any(|known| known == topic) {
                self.folders.insert(self.cluster.folder_of(topic), (*topic).to_owned());
            }
        }
        for (host, segment) in std::mem::take(&mut self.wounds) {
            self.wait_until_healed(host, &segment);
            self.cluster.wait_until_whole(topics);
        }
    }

    /// Reads what a segment of a host held, from there, until it gives all of it: what nobody
    /// reads is not known to be damaged.
    fn wait_until_healed(&mut self, host: usize, segment: &Path) {
        let Some((topic, partition)) = self.partition_of(segment) else {
            panic!("{} is of a topic that nobody made", segment.display());
        };
        let base = segment.file_stem().and_then(|stem| stem.to_str()?.parse::<i64>().ok());
        let base = base.expect("a segment's name is its base offset");
        let end = self.end_of(&topic, partition);
        let address = self.cluster.broker(host).bootstrap();
        let (mut next, mut codes) = (base, BTreeSet::new());
        let healed =
            wait_until("every record of a broker whose files were harmed", PATIENCE, || {
                let mut wire = Wire::connect_within(&address, PATIENCE).ok()?;
                while next < end {
                    match wire.try_fetch(&topic, partition, next).ok()? {
                        Ok(batches) => next = batches.last()?.header().last_offset() + 1,
                        Err(code) => {
                            codes.insert(code);
                            return None;
                        }
                    }
                }
                Some(())
            });
        println!("           {topic}-{partition} of host {host}: {base} to {end}, {codes:?}");
        healed.unwrap_or_else(|late| {
            let place = format!("at {next} of {base} to {end} in {topic}-{partition}");
            panic!("{late}: host {host} {place}, errors {codes:?}\n{}", self.report())
        });
    }

    /// The topic and the partition that a file belongs to.
    fn partition_of(&self, file: &Path) -> Option<(String, i32)> {
        let folder = file.parent()?;
        let partition = folder.file_name()?.to_str()?.parse().ok()?;
        let topic = folder.parent()?.file_name()?.to_str()?;
        Some((self.folders.get(topic)?.clone(), partition))
    }

    /// Where a partition ends, as its leader says.
    fn end_of(&self, topic: &str, partition: i32) -> i64 {
        let end = wait_until("the end of a partition", PATIENCE, || {
            self.bootstrap().split(',').find_map(|address| {
                let mut wire = Wire::connect_within(address, PATIENCE).ok()?;
                wire.end_offset(topic, partition).ok()?.ok()
            })
        });
        end.unwrap_or_else(|late| panic!("{late}: {topic}-{partition}\n{}", self.report()))
    }

    /// How many times a replica was fetched anew, as all logs say.
    pub(crate) fn repairs(&mut self) -> usize {
        let logs = (1..=HOSTS).map(|host| self.cluster.broker(host).log());
        logs.map(|log| log.matches("fetched anew").count()).sum()
    }

    /// Copies what the brokers have said, and what they have of these topics, for whoever looks
    /// into a fault; says where to.
    pub(crate) fn keep(&mut self, topics: &[&str], seed: u64) -> PathBuf {
        let to = env::temp_dir().join(format!("highwater-nemesis-{seed}"));
        for host in 1..=HOSTS {
            let kept = to.join(format!("host-{host}"));
            fs::create_dir_all(&kept).expect("the temporary directory is writable");
            fs::write(kept.join("log"), self.cluster.broker(host).log()).expect("there is room");
            let data = self.data(host).join("topics");
            for (folder, topic) in &self.folders {
                if topics.contains(&&**topic) {
                    let mut copy = Command::new("cp");
                    copy.arg("-rT").arg(data.join(folder)).arg(kept.join(topic));
                    // What is gone is a finding too.
                    drop(copy.status());
                }
            }
        }
        to
    }

    fn data(&mut self, host: usize) -> PathBuf {
        match host {
            SMALL_DISK => self.small_disk.path(),
            _ => self.cluster.broker(host).data_directory(),
        }
    }

    fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::Kill { host } => self.cluster.broker(host).kill(),
            Fault::KillAll => (1..=HOSTS).for_each(|host| self.cluster.broker(host).kill()),
            Fault::Pause { host } => self.cluster.broker(host).pause(),
            Fault::Cut { host } => self.network.cut(host),
            Fault::Deafen { from, to } => self.network.deafen(from, to),
            Fault::Mute { host } => self.network.mute(host),
            Fault::Surgery { host, operation, chance } => {
                self.cluster.broker(host).kill();
                let data = self.data(host);
                let topic_of = |file: &Path| self.partition_of(file).map(|(topic, _)| topic);
                let is_compacted =
                    |file: &Path| topic_of(file).is_none_or(|topic| topic.starts_with(INTERNAL));
                let wound = operate(&data, operation, chance, is_compacted);
                let told = wound.as_ref().map_or("no such file yet", |wound| &wound.told);
                println!("           {told}");
                self.wounds.extend(wound.and_then(|wound| Some((host, wound.segment?))));
            }
            Fault::Fill => self.small_disk.run(FILL),
        }
    }

    fn end(&mut self, fault: Fault) {
        match fault {
            Fault::Kill { host } | Fault::Surgery { host, .. } => {
                self.cluster.broker(host).restart();
            }
            Fault::KillAll => (1..=HOSTS).for_each(|host| self.cluster.broker(host).restart()),
            Fault::Pause { host } => self.cluster.broker(host).resume(),
            Fault::Cut { host } => self.network.join_again(host),
            Fault::Deafen { from: host, .. } | Fault::Mute { host } => self.network.unmute(host),
            Fault::Fill => {
                self.small_disk.run(EMPTY);
                if !self.cluster.broker(SMALL_DISK).is_running() {
                    panic!("a full disk is no reason to end\n{}", self.report());
                }
            }
        }
    }
}
