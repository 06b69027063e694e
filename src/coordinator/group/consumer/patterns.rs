//! Subscriptions by regular expression (KIP-848, ConsumerGroupHeartbeat v1).
//!
//! A pattern must match the whole name of a topic (`coordinator/patterns.rs`).

use super::ConsumerGroup;
use super::calls::Refusal;
use super::records::{ConsumerRecord, ResolvedRegex};
use crate::coordinator::group::topics::Topics;
use crate::coordinator::group::turn::Turn;
use crate::coordinator::patterns;
use crate::model::errors::KafkaCode;
use regex::Regex;

/// The pattern, compiled to match whole names.
pub(super) fn compile(pattern: &str) -> Result<Regex, Refusal> {
    patterns::compile(pattern).map_err(|why| {
        let message =
            format!("SubscribedTopicRegex `{pattern}` is not a valid regular expression: {why}.");
        Refusal::new(KafkaCode::InvalidRegularExpression, message)
    })
}

impl ConsumerGroup {
    /// Finds the topics that `pattern` matches; true when they are not those known before.
    pub(super) fn resolve(&mut self, pattern: &str, topics: &Topics, turn: &mut Turn<'_>) -> bool {
        // What a member may name was compiled before; what a record of another broker names may
        // not compile here, and then matches nothing.
        let compiled = if pattern.is_empty() { None } else { compile(pattern).ok() };
        let matched = topics
            .names()
            .filter(|name| compiled.as_ref().is_some_and(|regex| regex.is_match(name)));
        // As many as fit a record; the rest of the names is not subscribed to.
        let mut room = turn.config.record_bytes_max;
        let matched = matched.take_while(|name| {
            let size = name.len() + 3;
            let fits = size <= room;
            room = room.saturating_sub(size);
            fits
        });
        let matched: Vec<String> = matched.map(str::to_owned).collect();
        if self.regexes.get(pattern).is_some_and(|known| known.topics == matched) {
            return false;
        }
        let resolved = ResolvedRegex {
            topics: matched,
            version: i64::try_from(topics.version()).unwrap_or(i64::MAX),
            resolved_ms: turn.now.wall_ms,
        };
        let regex = pattern.to_owned();
        self.put(ConsumerRecord::Regex { regex, value: Some(resolved) }, turn);
        true
    }

    /// Finds the topics of every pattern anew.
    pub(super) fn resolve_all(&mut self, topics: &Topics, turn: &mut Turn<'_>) {
        let patterns: Vec<String> = self.regexes.keys().cloned().collect();
        for pattern in patterns {
            self.resolve(&pattern, topics, turn);
        }
    }

    /// Drops what a pattern matched when no member subscribes by it any more.
    pub(super) fn forget_unused(&mut self, regex: String, turn: &mut Turn<'_>) {
        let is_used =
            self.members.values().any(|member| member.details.regex.as_ref() == Some(&regex));
        if !is_used && self.regexes.contains_key(&regex) {
            self.put(ConsumerRecord::Regex { regex, value: None }, turn);
        }
    }
}
