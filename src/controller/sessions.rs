//! Which brokers the active controller has heard of lately. Soft state: a new one begins anew.
//!
//! Why apart from the image: a heartbeat that changes nothing must cost nothing. What follows from
//! silence is a decision like any other.
//!
//! Invariants
//! - A broker is called silent only when it had a whole session's time since this controller became
//!   active or the broker registered.
//! - Time in which the controller itself stood still is nobody's silence: whoever was stopped and
//!   goes on finds the heartbeats of that time unread.

use crate::controller::image::MetadataImage;
use crate::model::ids::{BrokerEpoch, BrokerId};
use crate::model::limits::CONTROLLER_TICK_MS;
use std::collections::BTreeMap;

const US_PER_MS: u64 = 1000;

/// What was last heard of each broker. One on the active controller.
#[derive(Debug, Default)]
pub struct Sessions {
    brokers: BTreeMap<BrokerId, Session>,
    /// When the controller last said that it runs, in monotonic microseconds.
    awake_us: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Session {
    epoch: BrokerEpoch,
    heard_us: u64,
    /// Position of the last metadata record that it has applied; -1 before the first heartbeat.
    position: i64,
    /// Position of the metadata when it began to stop.
    shutdown_at: Option<i64>,
}

impl Sessions {
    /// Begins anew: every broker that is not fenced has just been heard of.
    pub fn restart(&mut self, image: &MetadataImage, now_us: u64) {
        self.brokers.clear();
        for broker in image.alive() {
            self.hear(broker.id(), broker.epoch(), -1, now_us);
        }
        assert!(self.brokers.len() == image.alive().count());
    }

    /// The controller runs, as it says at least every `CONTROLLER_TICK_MS`. By as much as it is
    /// later than that, every session is longer.
    pub fn on_awake(&mut self, now_us: u64) {
        let Some(before_us) = self.awake_us.replace(now_us) else { return };
        let planned_us = before_us.saturating_add(CONTROLLER_TICK_MS * US_PER_MS);
        let late_us = now_us.saturating_sub(planned_us);
        if late_us == 0 {
            return;
        }
        for session in self.brokers.values_mut() {
            // Some may have been heard since.
            session.heard_us = session.heard_us.saturating_add(late_us).min(now_us);
        }
    }

    /// A registration or heartbeat has come in.
    pub fn hear(&mut self, id: BrokerId, epoch: BrokerEpoch, position: i64, now_us: u64) {
        let fresh = Session { epoch, heard_us: now_us, position, shutdown_at: None };
        let session = self.brokers.entry(id).or_insert(fresh);
        if session.epoch != epoch {
            *session = fresh;
        }
        session.heard_us = now_us;
        session.position = session.position.max(position);
    }

    /// A broker begins to stop, as the metadata says up to `position`.
    pub fn begin_shutdown(&mut self, id: BrokerId, position: i64) {
        if let Some(session) = self.brokers.get_mut(&id) {
            session.shutdown_at.get_or_insert(position);
        }
    }

    /// Whether all active brokers know that this one stops.
    pub fn is_shutdown_known(&self, image: &MetadataImage, id: BrokerId) -> bool {
        let Some(at) = self.brokers.get(&id).and_then(|session| session.shutdown_at) else {
            return false;
        };
        image.brokers().filter(|broker| broker.is_active()).all(|broker| {
            self.brokers.get(&broker.id()).is_some_and(|session| session.position >= at)
        })
    }

    /// Whether the broker was heard of within a session's time.
    pub fn is_valid(&self, id: BrokerId, now_us: u64, timeout_ms: u64) -> bool {
        let session = self.brokers.get(&id);
        session.is_some_and(|session| now_us < deadline_us(session, timeout_ms))
    }

    /// Brokers that are not fenced and have been silent for too long; those that the image does
    /// not know any more are forgotten.
    pub fn silent(
        &mut self,
        image: &MetadataImage,
        now_us: u64,
        timeout_ms: u64,
    ) -> Vec<(BrokerId, BrokerEpoch)> {
        self.brokers.retain(|id, _| image.broker(*id).is_some());
        for broker in image.alive() {
            let fresh = Session {
                epoch: broker.epoch(),
                heard_us: now_us,
                position: -1,
                shutdown_at: None,
            };
            self.brokers.entry(broker.id()).or_insert(fresh);
        }
        assert!(self.brokers.len() >= image.alive().count());
        let is_silent = |id: &BrokerId, session: &Session| {
            let known = image.broker(*id);
            known.is_some_and(|known| !known.is_fenced() && known.epoch() == session.epoch)
                && now_us >= deadline_us(session, timeout_ms)
        };
        let silent = self.brokers.iter().filter(|(id, session)| is_silent(id, session));
        silent.map(|(id, session)| (*id, session.epoch)).collect()
    }
}

fn deadline_us(session: &Session, timeout_ms: u64) -> u64 {
    session.heard_us.saturating_add(timeout_ms.saturating_mul(US_PER_MS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::records::{
        Availability, BrokerEndpoint, BrokerRegistration, MetadataRecord,
    };
    use crate::model::cluster_config::Roles;
    use crate::model::listeners::Endpoint;
    use std::sync::Arc;
    use uuid::Uuid;

    const TIMEOUT_MS: u64 = 9000;
    const TIMEOUT_US: u64 = TIMEOUT_MS * US_PER_MS;

    fn image(brokers: &[i32]) -> MetadataImage {
        let mut image = MetadataImage::new(BrokerId(1), Arc::default());
        for id in brokers {
            let endpoint = Endpoint { host: "h".to_owned(), port: 1 };
            let id = BrokerId(*id);
            let epoch = BrokerEpoch(i64::from(id.0));
            let registration = BrokerRegistration {
                id,
                epoch,
                incarnation: Uuid::nil(),
                directory: Uuid::nil(),
                endpoints: vec![BrokerEndpoint { listener: "L".to_owned(), endpoint }],
                rack: None,
                cores: 1,
                roles: Roles { broker: true, controller: true },
                features: Vec::new(),
                was_clean: false,
            };
            image.apply(&MetadataRecord::RegisterBroker(Arc::new(registration))).unwrap();
            let availability = Availability::Active;
            image.apply(&MetadataRecord::BrokerState { id, epoch, availability }).unwrap();
        }
        image
    }

    fn silent(sessions: &mut Sessions, image: &MetadataImage, now_us: u64) -> Vec<i32> {
        let silent = sessions.silent(image, now_us, TIMEOUT_MS);
        silent.into_iter().map(|(id, _)| id.0).collect()
    }

    #[test]
    fn each_broker_has_a_whole_session_from_what_was_last_heard() {
        let image = image(&[1, 2]);
        let mut sessions = Sessions::default();
        sessions.restart(&image, 5);
        assert_eq!(silent(&mut sessions, &image, TIMEOUT_US + 4), Vec::<i32>::new());
        sessions.hear(BrokerId(2), BrokerEpoch(2), 7, TIMEOUT_US);
        assert_eq!(silent(&mut sessions, &image, TIMEOUT_US + 5), [1]);
        assert!(sessions.is_valid(BrokerId(2), TIMEOUT_US + 5, TIMEOUT_MS));
        assert!(!sessions.is_valid(BrokerId(1), TIMEOUT_US + 5, TIMEOUT_MS));
        assert!(!sessions.is_valid(BrokerId(3), 0, TIMEOUT_MS));
    }

    #[test]
    fn time_in_which_the_controller_stood_still_is_nobodys_silence() {
        let tick_us = CONTROLLER_TICK_MS * US_PER_MS;
        let image = image(&[1, 2]);
        let mut sessions = Sessions::default();
        sessions.on_awake(0);
        sessions.restart(&image, 0);
        for tick in 1..=10 {
            sessions.on_awake(tick * tick_us);
        }
        let stopped_us = 10 * tick_us;
        let resumed_us = stopped_us + tick_us + 3 * TIMEOUT_US;
        // Of two whose heartbeats wait to be read, one is read before the controller looks around.
        sessions.hear(BrokerId(2), BrokerEpoch(2), 7, resumed_us);
        sessions.on_awake(resumed_us);
        assert_eq!(silent(&mut sessions, &image, resumed_us), Vec::<i32>::new());
        assert!(sessions.is_valid(BrokerId(1), resumed_us, TIMEOUT_MS));
        // What it had left when the controller stopped is what it has left now, and no more.
        let left_us = TIMEOUT_US - stopped_us - tick_us;
        let mut now_us = resumed_us;
        while now_us + tick_us < resumed_us + left_us {
            now_us += tick_us;
            sessions.on_awake(now_us);
            assert_eq!(silent(&mut sessions, &image, now_us), Vec::<i32>::new());
        }
        sessions.on_awake(now_us + tick_us);
        assert_eq!(silent(&mut sessions, &image, now_us + tick_us), [1]);
        assert!(sessions.is_valid(BrokerId(2), now_us + tick_us, TIMEOUT_MS));
    }

    #[test]
    fn a_broker_that_became_active_meanwhile_gets_its_session_too() {
        let image = image(&[1]);
        let mut sessions = Sessions::default();
        assert_eq!(silent(&mut sessions, &image, TIMEOUT_US * 3), Vec::<i32>::new());
        assert_eq!(silent(&mut sessions, &image, TIMEOUT_US * 4), [1]);
    }

    #[test]
    fn a_shutdown_is_known_when_every_active_broker_has_applied_it() {
        let image = image(&[1, 2]);
        let mut sessions = Sessions::default();
        sessions.restart(&image, 0);
        assert!(!sessions.is_shutdown_known(&image, BrokerId(1)), "it does not stop");
        sessions.begin_shutdown(BrokerId(1), 10);
        sessions.begin_shutdown(BrokerId(1), 99);
        sessions.hear(BrokerId(1), BrokerEpoch(1), 10, 0);
        sessions.hear(BrokerId(2), BrokerEpoch(2), 9, 0);
        assert!(!sessions.is_shutdown_known(&image, BrokerId(1)));
        sessions.hear(BrokerId(2), BrokerEpoch(2), 10, 0);
        assert!(sessions.is_shutdown_known(&image, BrokerId(1)));
    }
}
