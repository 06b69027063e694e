//! Highwater, a Kafka-compatible broker: the modules in layer order, arrows only downwards.

pub mod model; // L0  words of the domain: ids, limits, error codes, configuration keys
pub mod storage; // L2  one partition on disk: journal, segments, indexes, recovery
