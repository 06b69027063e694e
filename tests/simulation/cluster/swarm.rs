//! What a seed has to go through. A run in which everything goes wrong shows less than many runs in
//! each of which something else does, so each seed has some faults only, at rates of its own.

use super::group::{self, Cast};
use highwater::sim::cluster::NodeSetup;
use highwater::sim::disk::Faults;
use highwater::sim::random::Random;

/// How often each kind of fault is drawn, among all; 0 is never.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rates {
    pub(crate) kills: u64,
    pub(crate) power_cuts: u64,
    /// The power of all brokers goes at once.
    pub(crate) dark: u64,
    /// A process stands still for a while.
    pub(crate) pauses: u64,
    /// Nothing arrives in one direction between two brokers.
    pub(crate) cuts: u64,
    /// A broker and all others do not hear each other.
    pub(crate) isolations: u64,
    pub(crate) clock_jumps: u64,
    /// Writes and syncs of a disk fail for a while.
    pub(crate) disk_errors: u64,
    /// A disk has no room for a while.
    pub(crate) full_disks: u64,
    /// A broker without a vote comes back with another disk.
    pub(crate) wipes: u64,
    /// A broker comes back with files that its disk has harmed.
    pub(crate) rots: u64,
    /// A broker comes back with a sector that its disk does not give back.
    pub(crate) bad_sectors: u64,
    /// A broker comes back with indexes that its disk has harmed.
    pub(crate) index_rots: u64,
    /// The same of its metadata.
    pub(crate) metadata_rots: u64,
}

impl Rates {
    fn draw(random: &mut Random, has_learners: bool) -> Rates {
        // Apart from the others, so that what seeds have shown before these is what they show.
        let mut apart = random.clone().fork();
        let mut rare = |most: u64| if apart.chance(25) { 1 + apart.below(most) } else { 0 };
        let (bad_sectors, index_rots, metadata_rots) = (rare(6), rare(4), rare(4));
        let mut rate = |most: u64| if random.chance(50) { 1 + random.below(most) } else { 0 };
        let mut rates = Rates {
            kills: rate(4),
            power_cuts: rate(4),
            dark: rate(1),
            pauses: rate(4),
            cuts: rate(4),
            isolations: rate(4),
            clock_jumps: rate(2),
            disk_errors: rate(2),
            full_disks: rate(2),
            wipes: rate(3) * u64::from(has_learners),
            rots: rate(6),
            bad_sectors,
            index_rots,
            metadata_rots,
        };
        if rates.total() == 0 {
            rates.kills = 1;
        }
        rates
    }

    /// Each kind of fault and its rate.
    pub(crate) fn all(&self) -> [(u64, Fault); 14] {
        [
            (self.kills, Fault::Kill),
            (self.power_cuts, Fault::PowerCut),
            (self.dark, Fault::Dark),
            (self.pauses, Fault::Pause),
            (self.cuts, Fault::Cut),
            (self.isolations, Fault::Isolate),
            (self.clock_jumps, Fault::Jump),
            (self.disk_errors, Fault::DiskErrors),
            (self.full_disks, Fault::FullDisk),
            (self.wipes, Fault::Wipe),
            (self.rots, Fault::Rot),
            (self.bad_sectors, Fault::BadSector),
            (self.index_rots, Fault::RotIndex),
            (self.metadata_rots, Fault::RotMetadata),
        ]
    }

    fn total(&self) -> u64 {
        self.all().iter().map(|(rate, _)| rate).sum()
    }

    /// Whether somebody who is cut off, stands still or is damaged may go on as what it is no more.
    pub(crate) fn can_part_brokers(&self) -> bool {
        let parting = self.pauses + self.cuts + self.isolations + self.rots + self.bad_sectors;
        parting + self.disk_errors + self.full_disks > 0
    }

    /// One fault, by the rates.
    pub(crate) fn pick(&self, random: &mut Random) -> Fault {
        let mut drawn = random.below(self.total());
        for (rate, fault) in self.all() {
            if drawn < rate {
                return fault;
            }
            drawn -= rate;
        }
        unreachable!("drawn below the total")
    }
}

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Kill,
    PowerCut,
    Dark,
    Pause,
    Cut,
    Isolate,
    Jump,
    DiskErrors,
    FullDisk,
    Wipe,
    Rot,
    BadSector,
    RotIndex,
    RotMetadata,
}

/// A fault that no cluster could stand, planted to see whether it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Planted {
    Nothing,
    /// Disks say that journals are synced which are not: records are acknowledged before that.
    AcknowledgeBeforeSync,
    /// Whoever is alive is elected where nobody in sync is.
    ElectOutsideIsr,
    /// Followers go on at the ends of their logs, whatever is there.
    DropTruncation,
    /// A broker whose files were harmed has lost its recovery points, too: what an opening finds
    /// passes for a torn tail, and is cut while nobody is told.
    ForgetRecoveryPoints,
}

/// One seed's world.
#[derive(Debug, Clone)]
pub(crate) struct Swarm {
    pub(crate) planted: Planted,
    pub(crate) voters: u16,
    /// Of each broker.
    pub(crate) cores: Vec<u16>,
    pub(crate) partitions: i32,
    pub(crate) min_isr: u16,
    /// How long a segment takes batches, in milliseconds, where that is not for ever.
    pub(crate) roll_ms: Option<u64>,
    pub(crate) producers: usize,
    /// Transactional producers.
    pub(crate) transformers: usize,
    pub(crate) has_committers: bool,
    pub(crate) members: Option<Cast>,
    pub(crate) rates: Rates,
    /// Longest time on the way between brokers, in microseconds.
    pub(crate) delay_us_max: u64,
    /// Deliveries in a thousand with which a connection between brokers breaks.
    pub(crate) breaks: u64,
    /// Connections in a hundred on which what was sent arrives after their end.
    pub(crate) stragglers: u64,
    pub(crate) clients: ClientFaults,
    /// How long things go wrong, in microseconds.
    pub(crate) trouble_us: u64,
    /// Mean time between two faults, in microseconds.
    pub(crate) interval_us: u64,
}

/// What goes wrong between clients and brokers. Shares are in percent of all requests.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ClientFaults {
    pub(crate) delay_us_max: u64,
    pub(crate) lost_requests: u64,
    pub(crate) lost_answers: u64,
    /// Requests that are on their way for longer than their client waits.
    pub(crate) stalls: u64,
    pub(crate) reconnects: u64,
}

impl Swarm {
    pub(crate) fn draw(random: &mut Random, planted: Planted) -> Swarm {
        let mut swarm = Swarm::draw_any(random);
        swarm.planted = planted;
        let rates = &mut swarm.rates;
        match planted {
            Planted::Nothing => {}
            Planted::AcknowledgeBeforeSync => rates.dark += 2,
            Planted::ElectOutsideIsr => rates.kills += 4,
            Planted::DropTruncation => rates.isolations += 4,
            Planted::ForgetRecoveryPoints => rates.rots += 4,
        }
        swarm
    }

    fn draw_any(random: &mut Random) -> Swarm {
        let brokers: u16 = [3, 3, 3, 4, 5][random.index(5)];
        let cores = (0..brokers).map(|_| 1 + u16::try_from(random.below(3)).unwrap()).collect();
        let has_learners = brokers > 3 && random.chance(60);
        let rates = Rates::draw(random, has_learners);
        let mut rate = |most: u64| if random.chance(50) { 1 + random.below(most) } else { 0 };
        let clients = ClientFaults {
            delay_us_max: 100 + rate(3000),
            lost_requests: rate(8),
            lost_answers: rate(8),
            stalls: rate(8),
            reconnects: rate(30),
        };
        let (delay_us_max, breaks, stragglers) = (300 + rate(8_000), rate(2), rate(100));
        Swarm {
            planted: Planted::Nothing,
            voters: if has_learners { 3 } else { brokers },
            cores,
            partitions: 1 + i32::try_from(random.below(3)).unwrap(),
            min_isr: 1 + u16::try_from(random.below(2)).unwrap(),
            roll_ms: random.chance(50).then(|| 200 + random.below(1800)),
            producers: 1 + random.index(3),
            transformers: if random.chance(50) { 1 + random.index(2) } else { 0 },
            has_committers: random.chance(40),
            members: random.chance(30).then(|| Cast::draw(random, &rates)),
            rates,
            delay_us_max,
            breaks,
            stragglers,
            clients,
            trouble_us: 500_000 + random.below(3_500_000),
            interval_us: 100_000 + random.below(700_000),
        }
    }

    /// What disks do when nothing is wrong with them.
    pub(crate) fn usual_faults(&self) -> Faults {
        let is_forgetful = self.planted == Planted::AcknowledgeBeforeSync;
        Faults { forgets_syncs_below: is_forgetful.then_some("/data/journal"), ..Faults::default() }
    }

    /// The brokers that this makes.
    pub(crate) fn nodes(&self) -> Vec<NodeSetup> {
        let settings = [
            ("min.insync.replicas", self.min_isr.to_string()),
            ("default.replication.factor", "3".to_owned()),
            ("offsets.topic.num.partitions", "2".to_owned()),
            ("transaction.state.log.num.partitions", "2".to_owned()),
            ("transaction.state.log.min.isr", self.min_isr.to_string()),
            ("broker.session.timeout.ms", "1000".to_owned()),
            ("broker.heartbeat.interval.ms", "200".to_owned()),
            ("replica.lag.time.max.ms", "600".to_owned()),
            ("request.timeout.ms", "1000".to_owned()),
            (
                "unclean.leader.election.enable",
                (self.planted == Planted::ElectOutsideIsr).to_string(),
            ),
        ];
        let assignor = self.members.as_ref().map_or("uniform", |cast| cast.assignor);
        let (session, heartbeat) = (group::SESSION_MS.to_string(), group::HEARTBEAT_MS.to_string());
        let of_groups = [
            ("group.initial.rebalance.delay.ms", "20".to_owned()),
            ("group.min.session.timeout.ms", "1".to_owned()),
            ("group.consumer.min.session.timeout.ms", "1".to_owned()),
            ("group.consumer.min.heartbeat.interval.ms", "1".to_owned()),
            ("group.consumer.session.timeout.ms", session),
            ("group.consumer.heartbeat.interval.ms", heartbeat),
            ("group.consumer.assignors", assignor.to_owned()),
        ];
        let settings = settings.into_iter().chain(of_groups);
        let settings: Vec<(String, String)> =
            settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let node = |cores: &u16| NodeSetup { cores: *cores, settings: settings.clone() };
        self.cores.iter().map(node).collect()
    }
}
