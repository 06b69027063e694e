//! Kafka's text form of ids: 16 bytes as 22 characters of base64url without padding.

use uuid::Uuid;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const UUID_CHARS: usize = 22;

/// As Kafka prints it.
pub fn encode_uuid(id: Uuid) -> String {
    let bits = id.as_u128();
    let mut text = String::with_capacity(UUID_CHARS);
    for index in 0..UUID_CHARS {
        // 21 groups of six bits; the last has two and four zeros behind them.
        let six = match 122_usize.checked_sub(index * 6) {
            Some(shift) => bits >> shift,
            None => bits << 4,
        };
        let six = usize::try_from(six & 0x3f).expect("six bits");
        text.push(char::from(ALPHABET[six]));
    }
    text
}

/// `None` where it is not 22 characters of the alphabet that end in four zero bits.
pub fn decode_uuid(text: &str) -> Option<Uuid> {
    if text.len() != UUID_CHARS {
        return None;
    }
    let mut bits: u128 = 0;
    for (index, byte) in text.bytes().enumerate() {
        let six = ALPHABET.iter().position(|known| *known == byte)? as u128;
        if index + 1 < UUID_CHARS {
            bits = bits << 6 | six;
        } else if six & 0xf != 0 {
            return None;
        } else {
            bits = bits << 2 | six >> 4;
        }
    }
    Some(Uuid::from_u128(bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_reads_back_as_it_was_printed(bits in any::<u128>()) {
            let id = Uuid::from_u128(bits);
            prop_assert_eq!(decode_uuid(&encode_uuid(id)), Some(id));
        }
    }

    #[test]
    fn ids_look_as_kafka_prints_them() {
        // Kafka's own reserved ids, as its `Uuid.toString` prints them.
        let id = Uuid::from_u128(1);
        assert_eq!(encode_uuid(id), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(encode_uuid(Uuid::from_u128(u128::MAX)), "_____________________w");
    }

    #[test]
    fn anything_else_is_none() {
        for text in
            ["", "AAAAAAAAAAAAAAAAAAAAAB", "AAAAAAAAAAAAAAAAAAAAA=", "AAAAAAAAAAAAAAAAAAAAAAA"]
        {
            assert_eq!(decode_uuid(text), None, "{text}");
        }
    }
}
