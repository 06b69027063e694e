//! One table of configuration keys: name, type, range, default, who may change it, what it does.
//!
//! Why one table: parsing, refusals, DescribeConfigs, `--help` and docs/config.md are derived from
//! it, so a default or a range exists once. Names, types, ranges and defaults are those of Apache
//! Kafka 4.1; keys that begin with `highwater.` are ours.
//!
//! Invariants (tested): every default lies in its own range, names are unique and sorted per scope,
//! every topic key's synonym is a broker key of the same meaning.

mod broker;
mod group;
mod topic;

pub use broker::{BROKER_KEYS, FOREIGN_FAMILIES, RACK_SELECTOR};
pub use group::GROUP_KEYS;
pub use topic::TOPIC_KEYS;

use crate::model::limits::CONFIG_VALUE_BYTES_MAX;
use crate::model::share_config::OffsetReset;

/// What a value must look like. The bounds are inclusive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ConfigKind {
    Bool,
    /// 16 bits on Kafka's side.
    Short {
        min: i64,
        max: i64,
    },
    /// 32 bits on Kafka's side.
    Int {
        min: i64,
        max: i64,
    },
    /// 64 bits on Kafka's side.
    Long {
        min: i64,
        max: i64,
    },
    /// `min..=max`, or -1 for the codec's own default.
    Level {
        min: i64,
        max: i64,
    },
    Double {
        min: f64,
        max: f64,
    },
    Text,
    OneOf(&'static [&'static str]),
    /// Comma separated; an empty slice allows any element.
    List(&'static [&'static str]),
    /// `[partition]:[broker],...` or `*`.
    ThrottledReplicas,
    /// Where a share group begins: an [`OffsetReset`].
    OffsetReset,
    /// A Java class name: nothing here can load it, so it is text.
    Class,
    Password,
}

/// What setting the key does in this broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Acted,
    /// Stored and shown; a warning says why it changes nothing.
    AcceptedNoEffect(&'static str),
    /// A value other than the default is refused with this reason.
    Refused(&'static str),
}

/// Who may change a broker key while the broker runs (KIP-226).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// Read at the start only.
    ReadOnly,
    /// For one broker or for all of them.
    PerBroker,
    /// For all brokers, or for one in a test.
    ClusterWide,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConfigKey {
    pub name: &'static str,
    pub kind: ConfigKind,
    /// As Kafka prints it; `None` is null.
    pub default: Option<&'static str>,
    pub update: Update,
    /// Broker keys that give a topic key its default, the first one set wins.
    pub synonyms: &'static [Synonym],
    /// What it means, one line.
    pub doc: &'static str,
    pub effect: Effect,
    /// Known so that old set-ups keep working, listed only where somebody set it.
    pub is_retired: bool,
}

/// A broker key that supplies a topic key's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synonym {
    pub broker_key: &'static str,
    /// What one unit of the broker key is in units of the topic key: 3,600,000 for hours.
    pub scale: i64,
}

/// Why a value was refused; the texts are Kafka's own.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    #[error("Unknown topic config name: {key}")]
    UnknownTopicKey { key: String },
    #[error("Unknown group config name: {key}")]
    UnknownGroupKey { key: String },
    #[error("{key} must be {relation} {bound}")]
    OutOfBounds { key: &'static str, relation: &'static str, bound: &'static str },
    #[error("Invalid value {value} for configuration {key}: {fault}")]
    Invalid { key: &'static str, value: String, fault: Fault },
    #[error("{reason}")]
    Refused { key: &'static str, value: String, reason: &'static str },
    #[error("conflict topic config setting {low} ({low_value}) > {high} ({high_value})")]
    Conflict { low: &'static str, low_value: i64, high: &'static str, high_value: i64 },
}

/// How much is shown of a value that is too long.
const SHOWN_CHARS_OF_TOO_LONG: usize = 32;

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Fault {
    #[error(
        "Invalid value `{0}` for configuration share.auto.offset.reset. The value must be either 'earliest', 'latest' or of the format 'by_duration:<PnDTnHnMn.nS>'."
    )]
    NotAnOffsetReset(String),
    #[error("It is {bytes} bytes long, at most {CONFIG_VALUE_BYTES_MAX} are taken")]
    TooLong { bytes: usize },
    #[error("Not a number of type {0}")]
    NotANumber(&'static str),
    #[error("Value must be at least {0}")]
    BelowMin(String),
    #[error("Value must be no more than {0}")]
    AboveMax(String),
    #[error("Value must be between {min} and {max} or equal to -1")]
    NotALevel { min: i64, max: i64 },
    #[error("Expected value to be either true or false")]
    NotABool,
    #[error("String must be one of: {0}")]
    NotOneOf(String),
    #[error(
        "Exception in parsing the throttled replicas list: expected [partition]:[broker],[partition]:[broker],... or *"
    )]
    NotThrottledReplicas,
}

/// A value that has been checked against its key's kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ConfigValue<'a> {
    Bool(bool),
    Number(i64),
    Double(f64),
    Text(&'a str),
}

impl ConfigKey {
    /// Reads `text` as this key's type; surrounding blanks do not count, as in Kafka.
    pub fn parse<'a>(&self, text: &'a str) -> Result<ConfigValue<'a>, ConfigError> {
        let text = text.trim();
        self.kind.parse(text).map_err(|fault| ConfigError::Invalid {
            key: self.name,
            value: text.to_owned(),
            fault,
        })
    }

    /// As `parse`, and refuses what this broker could not honour.
    pub fn accept<'a>(&self, text: &'a str) -> Result<ConfigValue<'a>, ConfigError> {
        if text.len() > CONFIG_VALUE_BYTES_MAX {
            let value: String = text.chars().take(SHOWN_CHARS_OF_TOO_LONG).collect();
            let fault = Fault::TooLong { bytes: text.len() };
            return Err(ConfigError::Invalid { key: self.name, value, fault });
        }
        let value = self.parse(text)?;
        if let Effect::Refused(reason) = self.effect
            && self.default.map(|default| self.parse(default)) != Some(Ok(value))
        {
            return Err(ConfigError::Refused {
                key: self.name,
                value: text.trim().to_owned(),
                reason,
            });
        }
        Ok(value)
    }

    /// True where the value must never be shown.
    pub fn is_sensitive(&self) -> bool {
        matches!(self.kind, ConfigKind::Password)
    }
}

impl ConfigKind {
    /// Kafka's name of the type.
    pub fn type_name(&self) -> &'static str {
        match self {
            ConfigKind::Bool => "BOOLEAN",
            ConfigKind::Short { .. } => "SHORT",
            ConfigKind::Int { .. } | ConfigKind::Level { .. } => "INT",
            ConfigKind::Long { .. } => "LONG",
            ConfigKind::Double { .. } => "DOUBLE",
            ConfigKind::Text | ConfigKind::OneOf(_) | ConfigKind::OffsetReset => "STRING",
            ConfigKind::List(_) | ConfigKind::ThrottledReplicas => "LIST",
            ConfigKind::Class => "CLASS",
            ConfigKind::Password => "PASSWORD",
        }
    }

    /// The allowed values for docs and refusals; empty where anything goes.
    pub fn valid_values(&self) -> String {
        match self {
            ConfigKind::Bool => "true, false".to_owned(),
            ConfigKind::Short { min, max }
            | ConfigKind::Int { min, max }
            | ConfigKind::Long { min, max } => match (*min, self.has_natural_max(*max)) {
                (i64::MIN, true) => String::new(),
                (min, true) => format!("at least {min}"),
                (min, false) => format!("{min} to {max}"),
            },
            ConfigKind::Level { min, max } => format!("{min} to {max}, or -1"),
            ConfigKind::Double { min, max } if *max == f64::MAX => format!("at least {min}"),
            ConfigKind::Double { min, max } => format!("{min} to {max}"),
            ConfigKind::OneOf(values) => values.join(", "),
            ConfigKind::List([]) => String::new(),
            ConfigKind::List(values) => format!("any of {}", values.join(", ")),
            ConfigKind::ThrottledReplicas => "[partition]:[broker],..., or *".to_owned(),
            ConfigKind::OffsetReset => "latest, earliest, by_duration:PnDTnHnMn.nS".to_owned(),
            ConfigKind::Text | ConfigKind::Class | ConfigKind::Password => String::new(),
        }
    }

    fn has_natural_max(&self, max: i64) -> bool {
        match self {
            ConfigKind::Short { .. } => max == SHORT_MAX,
            ConfigKind::Int { .. } => max == INT_MAX,
            _ => max == i64::MAX,
        }
    }

    fn parse<'a>(&self, text: &'a str) -> Result<ConfigValue<'a>, Fault> {
        match *self {
            ConfigKind::Bool if text.eq_ignore_ascii_case("true") => Ok(ConfigValue::Bool(true)),
            ConfigKind::Bool if text.eq_ignore_ascii_case("false") => Ok(ConfigValue::Bool(false)),
            ConfigKind::Bool => Err(Fault::NotABool),
            ConfigKind::Short { min, max }
            | ConfigKind::Int { min, max }
            | ConfigKind::Long { min, max } => self.parse_number(text, min, max),
            ConfigKind::Level { min, max } => match text {
                "-1" => Ok(ConfigValue::Number(-1)),
                _ => match self.parse_number(text, min, max) {
                    Err(Fault::BelowMin(_) | Fault::AboveMax(_)) => {
                        Err(Fault::NotALevel { min, max })
                    }
                    parsed => parsed,
                },
            },
            ConfigKind::Double { min, max } => {
                let number = text
                    .parse::<f64>()
                    .ok()
                    .filter(|number| number.is_finite())
                    .ok_or(Fault::NotANumber("DOUBLE"))?;
                in_bounds(number, min, max).map(ConfigValue::Double)
            }
            ConfigKind::OneOf(values) => match values.contains(&text) {
                true => Ok(ConfigValue::Text(text)),
                false => Err(Fault::NotOneOf(values.join(", "))),
            },
            ConfigKind::List(values) => {
                let is_known = |item: &str| values.is_empty() || values.contains(&item);
                match list_items(text).all(is_known) {
                    true => Ok(ConfigValue::Text(text)),
                    false => Err(Fault::NotOneOf(values.join(", "))),
                }
            }
            ConfigKind::ThrottledReplicas => match is_throttled_replicas(text) {
                true => Ok(ConfigValue::Text(text)),
                false => Err(Fault::NotThrottledReplicas),
            },
            ConfigKind::OffsetReset => match OffsetReset::parse(text) {
                Some(_) => Ok(ConfigValue::Text(text)),
                None => Err(Fault::NotAnOffsetReset(text.to_owned())),
            },
            ConfigKind::Text | ConfigKind::Class | ConfigKind::Password => {
                Ok(ConfigValue::Text(text))
            }
        }
    }

    fn parse_number(&self, text: &str, min: i64, max: i64) -> Result<ConfigValue<'static>, Fault> {
        let not_a_number = Fault::NotANumber(self.type_name());
        let number = text.parse::<i64>().map_err(|_| not_a_number.clone())?;
        let is_in_type = match self {
            ConfigKind::Short { .. } => i16::try_from(number).is_ok(),
            ConfigKind::Int { .. } | ConfigKind::Level { .. } => i32::try_from(number).is_ok(),
            _ => true,
        };
        if !is_in_type {
            return Err(not_a_number);
        }
        in_bounds(number, min, max).map(ConfigValue::Number)
    }
}

/// The elements of a list value; blanks around commas do not count, an empty text has none.
pub fn list_items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// The topic key of this name.
pub fn topic_key(name: &str) -> Option<&'static ConfigKey> {
    find(TOPIC_KEYS, name)
}

/// The group key of this name.
pub fn group_key(name: &str) -> Option<&'static ConfigKey> {
    find(GROUP_KEYS, name)
}

/// The broker key of this name.
pub fn broker_key(name: &str) -> Option<&'static ConfigKey> {
    find(BROKER_KEYS, name)
}

/// The known broker key that is the fewest edits away from a mistyped one, if one is near.
pub fn nearest_broker_key(name: &str) -> Option<&'static str> {
    BROKER_KEYS
        .iter()
        .map(|key| (edit_distance(name, key.name), key.name))
        .min()
        .filter(|(distance, _)| *distance <= 1 + name.len() / 5)
        .map(|(_, nearest)| nearest)
}

fn find(table: &'static [ConfigKey], name: &str) -> Option<&'static ConfigKey> {
    table.binary_search_by(|key| key.name.cmp(name)).ok().map(|index| &table[index])
}

fn in_bounds<T: PartialOrd + ToString>(number: T, min: T, max: T) -> Result<T, Fault> {
    if number < min {
        return Err(Fault::BelowMin(min.to_string()));
    }
    if number > max {
        return Err(Fault::AboveMax(max.to_string()));
    }
    Ok(number)
}

fn is_throttled_replicas(text: &str) -> bool {
    let is_number = |part: &str| part.parse::<u32>().is_ok();
    text == "*"
        || list_items(text).all(|item| {
            item.split_once(':')
                .is_some_and(|(partition, broker)| is_number(partition) && is_number(broker))
        })
}

/// Insertions, deletions and substitutions from one text to the other.
fn edit_distance(from: &str, to: &str) -> usize {
    let to = to.as_bytes();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

const SHORT_MAX: i64 = i16::MAX as i64;
const INT_MAX: i64 = i32::MAX as i64;

/// The constructors that keep the tables readable: one row, one line or two.
mod row {
    use super::{ConfigKey, ConfigKind, Effect, INT_MAX, SHORT_MAX, Synonym, Update};

    pub(super) const ANY_INT: ConfigKind = ConfigKind::Int { min: i64::MIN, max: INT_MAX };
    pub(super) const ANY_LONG: ConfigKind = ConfigKind::Long { min: i64::MIN, max: i64::MAX };

    pub(super) const fn int(min: i64) -> ConfigKind {
        ConfigKind::Int { min, max: INT_MAX }
    }

    pub(super) const fn short(min: i64) -> ConfigKind {
        ConfigKind::Short { min, max: SHORT_MAX }
    }

    pub(super) const fn long(min: i64) -> ConfigKind {
        ConfigKind::Long { min, max: i64::MAX }
    }

    pub(super) const fn key(
        name: &'static str,
        kind: ConfigKind,
        default: &'static str,
        doc: &'static str,
    ) -> ConfigKey {
        ConfigKey {
            name,
            kind,
            default: Some(default),
            update: Update::ReadOnly,
            synonyms: &[],
            doc,
            effect: Effect::Acted,
            is_retired: false,
        }
    }

    pub(super) const fn synonym(broker_key: &'static str, scale: i64) -> Synonym {
        Synonym { broker_key, scale }
    }

    impl ConfigKey {
        pub(super) const fn unset(mut self) -> ConfigKey {
            self.default = None;
            self
        }

        pub(super) const fn from(mut self, synonyms: &'static [Synonym]) -> ConfigKey {
            self.synonyms = synonyms;
            self
        }

        pub(super) const fn update(mut self, update: Update) -> ConfigKey {
            self.update = update;
            self
        }

        pub(super) const fn no_effect(mut self, reason: &'static str) -> ConfigKey {
            self.effect = Effect::AcceptedNoEffect(reason);
            self
        }

        pub(super) const fn refused(mut self, reason: &'static str) -> ConfigKey {
            self.effect = Effect::Refused(reason);
            self
        }

        pub(super) const fn retired(mut self) -> ConfigKey {
            self.is_retired = true;
            self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_unique() {
        for table in [TOPIC_KEYS, GROUP_KEYS, BROKER_KEYS] {
            for pair in table.windows(2) {
                assert!(pair[0].name < pair[1].name, "{} before {}", pair[0].name, pair[1].name);
            }
        }
    }

    #[test]
    fn every_default_lies_in_its_own_range() {
        for key in TOPIC_KEYS.iter().chain(GROUP_KEYS).chain(BROKER_KEYS) {
            if let Some(default) = key.default {
                assert!(key.accept(default).is_ok(), "{}={default}", key.name);
            }
        }
    }

    #[test]
    fn a_blank_around_a_value_does_not_count_and_a_level_may_be_minus_one() {
        let level = topic_key("compression.gzip.level").unwrap();
        assert_eq!(level.parse(" -1 "), Ok(ConfigValue::Number(-1)));
        assert_eq!(
            level.parse("0").unwrap_err().to_string(),
            "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1"
        );
    }

    #[test]
    fn a_value_has_a_longest_length() {
        let key = topic_key("leader.replication.throttled.replicas").unwrap();
        let pairs = "0:1,".repeat(CONFIG_VALUE_BYTES_MAX / 4);
        assert!(key.accept(&pairs[..pairs.len() - 1]).is_ok());
        let longer = format!("{pairs}0:1");
        let error = key.accept(&longer).unwrap_err().to_string();
        assert!(error.ends_with("It is 1048579 bytes long, at most 1048576 are taken"), "{error}");
        assert!(error.len() < 200, "a value of that length is not shown whole");
    }

    #[test]
    fn throttled_replicas_are_pairs_or_a_star() {
        let key = topic_key("leader.replication.throttled.replicas").unwrap();
        assert!(key.parse("0:1,2:3").is_ok());
        assert!(key.parse("*").is_ok());
        assert!(key.parse("0").is_err());
    }

    #[test]
    fn edits_are_counted() {
        assert_eq!(edit_distance("listeners", "listners"), 1);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("node.id", "node.id"), 0);
    }
}
