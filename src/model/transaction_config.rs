//! The settings that transaction coordinators read.

/// Settings of all transaction coordinators of a broker; defaults are Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionConfig {
    /// `transaction.max.timeout.ms`: InitProducerId with more gets INVALID_TRANSACTION_TIMEOUT.
    pub timeout_max_ms: i32,
    /// `transactional.id.expiration.ms`: how long an id without a transaction is remembered.
    pub id_expiration_ms: i64,
    /// Size in bytes of an id's record: what the topic's `max.message.bytes` leaves room for.
    pub record_bytes_max: usize,
}

impl Default for TransactionConfig {
    fn default() -> Self {
        TransactionConfig {
            timeout_max_ms: 900_000,
            id_expiration_ms: 7 * 24 * 60 * 60 * 1_000,
            record_bytes_max: 1_000_000,
        }
    }
}
