//! Configurations as DescribeConfigs shows them: value, where it came from, what else was set.
//!
//! Why it follows Kafka to the letter: tools feed what they read back into AlterConfigs, and
//! Connect refuses to start when `cleanup.policy` does not read exactly as it expects (KAFKA-9216).
//! So a value equal to the default is still shown as set when it was set, and every key that is
//! shown is a key that can be set.

use crate::model::config_keys::{
    BROKER_KEYS, ConfigKey, ConfigKind, GROUP_KEYS, TOPIC_KEYS, Update, broker_key,
};
use crate::model::topic_config::TopicDefaults;
use std::collections::BTreeMap;

/// Values by key.
type Values = BTreeMap<String, String>;

/// Where a value was set (KIP-226); the numbers are the wire's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigSource {
    DynamicTopic = 1,
    DynamicBroker = 2,
    DynamicDefaultBroker = 3,
    StaticBroker = 4,
    Default = 5,
    DynamicGroup = 8,
}

/// One key of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    pub key: &'static str,
    /// `None` for null and for secrets.
    pub value: Option<String>,
    pub source: ConfigSource,
    pub is_read_only: bool,
    pub is_sensitive: bool,
    /// Everything that was set for it, the value in force first.
    pub synonyms: Vec<ConfigSynonym>,
    /// Kafka's number of the type.
    pub kind: i8,
    pub documentation: &'static str,
}

/// A place where the value, or one that it hides, was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSynonym {
    pub key: &'static str,
    pub value: Option<String>,
    pub source: ConfigSource,
}

/// What was set for brokers, in falling precedence.
#[derive(Debug, Clone, Copy)]
pub struct BrokerLayers<'a> {
    /// Dynamically for this broker.
    pub own: &'a Values,
    /// Dynamically for all brokers.
    pub all: &'a Values,
    /// By file, environment and flags.
    pub fixed: &'a Values,
}

impl ConfigSource {
    /// As the wire has it.
    pub const fn number(self) -> i8 {
        self as i8
    }
}

/// A topic's keys; `defaults` are those that follow from `layers`.
pub fn topic_entries(
    overrides: &Values,
    defaults: &TopicDefaults,
    layers: BrokerLayers<'_>,
) -> Vec<ConfigEntry> {
    let is_listed = |key: &&ConfigKey| !key.is_retired || overrides.contains_key(key.name);
    let entry = |key: &'static ConfigKey| {
        let own = overrides.get(key.name).map(|value| ConfigSynonym {
            key: key.name,
            value: Some(value.clone()),
            source: ConfigSource::DynamicTopic,
        });
        let value = overrides.get(key.name).map(String::as_str).or(defaults.get(key));
        let inherited = match key.synonyms.first() {
            Some(first) => layers.synonyms(first.broker_key),
            None => Vec::new(),
        };
        let synonyms = own.into_iter().chain(inherited).collect();
        key.entry(value, synonyms, Access::Writable)
    };
    TOPIC_KEYS.iter().filter(is_listed).map(entry).collect()
}

/// A group's keys: what it has set itself, or what holds for all groups, under the same name.
pub fn group_entries(overrides: &Values, layers: BrokerLayers<'_>) -> Vec<ConfigEntry> {
    let entry = |key: &'static ConfigKey| {
        let inherited = key.synonyms.iter().find_map(|synonym| layers.get(synonym.broker_key));
        let (value, source) = match overrides.get(key.name) {
            Some(value) => (Some(value.as_str()), ConfigSource::DynamicGroup),
            None => (inherited.or(key.default), ConfigSource::Default),
        };
        let shown = ConfigSynonym { key: key.name, value: value.map(str::to_owned), source };
        key.entry(value, vec![shown], Access::Writable)
    };
    GROUP_KEYS.iter().map(entry).collect()
}

/// The keys of one broker.
pub fn broker_entries(layers: BrokerLayers<'_>) -> Vec<ConfigEntry> {
    let entry = |key: &'static ConfigKey| {
        let synonyms = layers.synonyms(key.name);
        let value = layers.get(key.name).or(key.default);
        let access = match key.update {
            Update::ReadOnly => Access::ReadOnly,
            Update::PerBroker | Update::ClusterWide => Access::Writable,
        };
        key.entry(value, synonyms, access)
    };
    BROKER_KEYS.iter().map(entry).collect()
}

/// What was set for all brokers, and nothing else.
pub fn all_brokers_entries(all: &Values) -> Vec<ConfigEntry> {
    let entry = |(name, value): (&String, &String)| {
        let key = broker_key(name)?;
        let source = ConfigSource::DynamicDefaultBroker;
        let synonym = ConfigSynonym { key: key.name, value: Some(value.clone()), source };
        Some(key.entry(Some(value), vec![synonym], Access::Writable))
    };
    all.iter().filter_map(entry).collect()
}

enum Access {
    ReadOnly,
    Writable,
}

impl ConfigKey {
    fn entry(
        &'static self,
        value: Option<&str>,
        mut synonyms: Vec<ConfigSynonym>,
        access: Access,
    ) -> ConfigEntry {
        let is_sensitive = self.is_sensitive();
        if is_sensitive {
            synonyms.iter_mut().for_each(|synonym| synonym.value = None);
        }
        ConfigEntry {
            key: self.name,
            value: value.filter(|_| !is_sensitive).map(str::to_owned),
            source: synonyms.first().map_or(ConfigSource::Default, |synonym| synonym.source),
            is_read_only: matches!(access, Access::ReadOnly),
            is_sensitive,
            synonyms,
            kind: wire_type(self.kind),
            documentation: self.doc,
        }
    }
}

impl BrokerLayers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let layers = [self.own, self.all, self.fixed];
        layers.into_iter().find_map(|layer| layer.get(key)).map(String::as_str)
    }

    /// Where a broker key and those of the same meaning were set. Like Kafka, shows nothing above
    /// the first place that sets the key by this very name.
    fn synonyms(&self, name: &str) -> Vec<ConfigSynonym> {
        let names = same_meaning(name);
        let layers = [
            (self.own, ConfigSource::DynamicBroker),
            (self.all, ConfigSource::DynamicDefaultBroker),
            (self.fixed, ConfigSource::StaticBroker),
        ];
        let set = layers.into_iter().flat_map(|(layer, source)| {
            names.iter().filter_map(move |key| {
                let value = layer.get(key.name)?.clone();
                Some(ConfigSynonym { key: key.name, value: Some(value), source })
            })
        });
        let by_default = names.iter().filter_map(|key| {
            let value = Some(key.default?.to_owned());
            Some(ConfigSynonym { key: key.name, value, source: ConfigSource::Default })
        });
        set.chain(by_default).skip_while(|synonym| synonym.key != name).collect()
    }
}

/// The broker keys that set the same thing, in the order of their precedence.
fn same_meaning(name: &str) -> Vec<&'static ConfigKey> {
    let family =
        TOPIC_KEYS.iter().find(|key| key.synonyms.iter().any(|synonym| synonym.broker_key == name));
    match family {
        Some(key) => {
            key.synonyms.iter().filter_map(|synonym| broker_key(synonym.broker_key)).collect()
        }
        None => broker_key(name).into_iter().collect(),
    }
}

/// Kafka's numbers (`DescribeConfigsResponse.ConfigType`).
fn wire_type(kind: ConfigKind) -> i8 {
    match kind {
        ConfigKind::Bool => 1,
        ConfigKind::Text | ConfigKind::OneOf(_) | ConfigKind::OffsetReset => 2,
        ConfigKind::Int { .. } | ConfigKind::Level { .. } => 3,
        ConfigKind::Short { .. } => 4,
        ConfigKind::Long { .. } => 5,
        ConfigKind::Double { .. } => 6,
        ConfigKind::List(_) | ConfigKind::ThrottledReplicas => 7,
        ConfigKind::Class => 8,
        ConfigKind::Password => 9,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::topic_config::TopicConfig;

    fn values(pairs: &[(&str, &str)]) -> Values {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    struct Broker {
        own: Values,
        all: Values,
        fixed: Values,
    }

    impl Broker {
        fn new(own: &[(&str, &str)], all: &[(&str, &str)], fixed: &[(&str, &str)]) -> Broker {
            Broker { own: values(own), all: values(all), fixed: values(fixed) }
        }

        fn layers(&self) -> BrokerLayers<'_> {
            BrokerLayers { own: &self.own, all: &self.all, fixed: &self.fixed }
        }

        fn topic(&self, overrides: &[(&str, &str)], key: &str) -> String {
            let defaults = TopicDefaults::from_broker(|key| self.layers().get_static(key));
            let entries = topic_entries(&values(overrides), &defaults, self.layers());
            shown(&entries, key)
        }

        fn broker(&self, key: &str) -> String {
            shown(&broker_entries(self.layers()), key)
        }
    }

    impl<'a> BrokerLayers<'a> {
        fn get_static(&self, key: &str) -> Option<&'a str> {
            [self.own, self.all, self.fixed].into_iter().find_map(|l| l.get(key)).map(|v| &**v)
        }
    }

    fn shown(entries: &[ConfigEntry], key: &str) -> String {
        let Some(entry) = entries.iter().find(|entry| entry.key == key) else {
            return "not listed".to_owned();
        };
        let synonyms: Vec<String> = entry
            .synonyms
            .iter()
            .map(|s| format!("{:?}:{}={}", s.source, s.key, s.value.as_deref().unwrap_or("null")))
            .collect();
        let access = if entry.is_read_only { " read-only" } else { "" };
        let value = entry.value.as_deref().unwrap_or("null");
        format!("{value} {:?}{access} [{}]", entry.source, synonyms.join(", "))
    }

    #[test]
    fn a_value_equal_to_the_default_is_shown_as_set() {
        let broker = Broker::new(&[], &[], &[]);
        assert_eq!(
            broker.topic(&[("segment.bytes", "1073741824")], "segment.bytes"),
            "1073741824 DynamicTopic [DynamicTopic:segment.bytes=1073741824, \
             Default:log.segment.bytes=1073741824]"
        );
        assert_eq!(
            broker.topic(&[], "segment.bytes"),
            "1073741824 Default [Default:log.segment.bytes=1073741824]"
        );
    }

    #[test]
    fn a_topic_shows_which_broker_layer_gives_its_value() {
        let broker = Broker::new(
            &[("log.segment.bytes", "3")],
            &[("log.segment.bytes", "2")],
            &[("log.segment.bytes", "1")],
        );
        assert_eq!(
            broker.topic(&[], "segment.bytes"),
            "3 DynamicBroker [DynamicBroker:log.segment.bytes=3, \
             DynamicDefaultBroker:log.segment.bytes=2, StaticBroker:log.segment.bytes=1, \
             Default:log.segment.bytes=1073741824]"
        );
    }

    #[test]
    fn retention_in_hours_counts_and_hides_behind_the_name_in_milliseconds() {
        let broker = Broker::new(&[], &[], &[("log.retention.hours", "2")]);
        assert_eq!(broker.topic(&[], "retention.ms"), "7200000 Default []");
        assert_eq!(
            broker.broker("log.retention.hours"),
            "2 StaticBroker read-only [StaticBroker:log.retention.hours=2, \
             Default:log.retention.hours=168]"
        );
        assert_eq!(broker.broker("log.retention.ms"), "null Default []");
    }

    #[test]
    fn secrets_are_null_everywhere() {
        let broker = Broker::new(&[], &[], &[("ssl.keystore.password", "hunter2")]);
        assert_eq!(
            broker.broker("ssl.keystore.password"),
            "null StaticBroker read-only [StaticBroker:ssl.keystore.password=null]"
        );
    }

    #[test]
    fn a_retired_key_is_listed_where_it_was_set() {
        let broker = Broker::new(&[], &[], &[]);
        assert_eq!(broker.topic(&[], "message.format.version"), "not listed");
        assert!(
            broker
                .topic(&[("message.format.version", "2.8")], "message.format.version")
                .starts_with("2.8 DynamicTopic")
        );
    }

    #[test]
    fn whatever_a_topic_shows_can_be_set_again() {
        let broker = Broker::new(&[], &[], &[("log.retention.hours", "2")]);
        let defaults = TopicDefaults::from_broker(|key| broker.layers().get_static(key));
        let entries = topic_entries(&Values::new(), &defaults, broker.layers());
        let again: Values = entries
            .iter()
            .filter_map(|entry| Some((entry.key.to_owned(), entry.value.clone()?)))
            .collect();
        assert_eq!(again.len(), entries.len());
        let (config, errors) = TopicConfig::resolve(&again, &TopicDefaults::default());
        assert_eq!(errors, []);
        assert_eq!(config, TopicConfig::resolve(&Values::new(), &defaults).0);
    }

    #[test]
    fn the_view_of_all_brokers_holds_what_was_set_for_them() {
        let entries = all_brokers_entries(&values(&[("message.max.bytes", "5")]));
        assert_eq!(
            shown(&entries, "message.max.bytes"),
            "5 DynamicDefaultBroker [DynamicDefaultBroker:message.max.bytes=5]"
        );
        assert_eq!(entries.len(), 1);
    }
}
