//! Which topic names are legal, in Kafka's words.

use crate::model::limits::TOPIC_NAME_LEN_MAX;

/// Why a name cannot be a topic's; `None` when it can.
pub fn fault(name: &str) -> Option<String> {
    let fault = match name {
        "" => "the empty string is not allowed".to_owned(),
        "." => "'.' is not allowed".to_owned(),
        ".." => "'..' is not allowed".to_owned(),
        _ if name.chars().count() > TOPIC_NAME_LEN_MAX => {
            format!(
                "the length of '{name}' is longer than the max allowed length {TOPIC_NAME_LEN_MAX}"
            )
        }
        _ if !name.bytes().all(is_legal) => format!(
            "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        ),
        _ => return None,
    };
    Some(format!("Topic name is invalid: {fault}"))
}

fn is_legal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}
