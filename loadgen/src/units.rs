//! Quantities as people write them on the command line: `200k/s`, `64KiB`, `1.5s`.

use highwater::protocol::compression::Compression;

/// A rate in events per second: a number with `k`, `m` or `g`, and an optional `/s`.
///
/// # Errors
/// Names the text and shows an example.
pub(crate) fn parse_rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    let (number, factor) = match number.chars().last() {
        Some('k' | 'K') => (&number[..number.len() - 1], 1e3),
        Some('m' | 'M') => (&number[..number.len() - 1], 1e6),
        Some('g' | 'G') => (&number[..number.len() - 1], 1e9),
        _ => (number, 1.0),
    };
    match number.parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value * factor),
        _ => Err(format!("{text}: a rate is a number above 0, as in 200, 200k or 200k/s")),
    }
}

/// A size in bytes: a whole number with an optional `B`, `KB`, `KiB`, `MB`, `MiB`, `GB`, `GiB`.
///
/// # Errors
/// Names the text and shows an example.
pub(crate) fn parse_size(text: &str) -> Result<usize, String> {
    let refusal = || format!("{text}: a size is a whole number of bytes, as in 100, 16KiB or 1MB");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" | "k" => 1000,
        "kib" => 1024,
        "mb" | "m" => 1_000_000,
        "mib" => 1024 * 1024,
        "gb" | "g" => 1_000_000_000,
        "gib" => 1024 * 1024 * 1024,
        _ => return Err(refusal()),
    };
    let number: usize = number.parse().map_err(|_| refusal())?;
    number.checked_mul(factor).ok_or_else(refusal)
}

/// A duration in nanoseconds: a number with `us`, `ms`, `s`, `m`, `h` or `d`; without a unit,
/// seconds.
///
/// # Errors
/// Names the text and shows an example.
pub(crate) fn parse_duration(text: &str) -> Result<u64, String> {
    let (number, unit_ms) = if let Some(number) = text.strip_suffix("us") {
        (number, 1e-3)
    } else if let Some(number) = text.strip_suffix("ms") {
        (number, 1.0)
    } else if let Some(number) = text.strip_suffix('s') {
        (number, 1e3)
    } else if let Some(number) = text.strip_suffix('m') {
        (number, 60e3)
    } else if let Some(number) = text.strip_suffix('h') {
        (number, 3600e3)
    } else if let Some(number) = text.strip_suffix('d') {
        (number, 86_400e3)
    } else {
        (text, 1e3)
    };
    match number
        .parse::<f64>()
        .map(|value| std::time::Duration::try_from_secs_f64(value * unit_ms / 1e3))
    {
        Ok(Ok(duration)) => {
            u64::try_from(duration.as_nanos()).map_err(|_| format!("{text}: longer than 585 years"))
        }
        _ => Err(format!("{text}: a duration is a number with a unit, as in 500ms, 30s or 5m")),
    }
}

/// A topic config as `key=value`.
///
/// # Errors
/// Names the text when there is no `=` or no key.
pub(crate) fn parse_config(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text}: a topic config is key=value, as in retention.ms=60000")),
    }
}

/// A compression by Kafka's name.
///
/// # Errors
/// Names the text and lists what there is.
pub(crate) fn parse_compression(text: &str) -> Result<Compression, String> {
    Compression::from_name(text).ok_or_else(|| {
        let names = Compression::ALL.map(Compression::name).join(", ");
        format!("{text}: one of {names}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_take_factors_and_a_per_second_suffix() {
        assert_eq!(parse_rate("200k/s"), Ok(200e3));
        assert_eq!(parse_rate("1.5M"), Ok(1.5e6));
        assert_eq!(parse_rate("20"), Ok(20.0));
    }

    #[test]
    fn a_rate_that_is_none_is_refused_with_an_example() {
        for text in ["", "0", "-1", "inf", "NaN", "k", "10/min"] {
            let refusal = parse_rate(text).unwrap_err();
            assert!(refusal.contains("as in 200"), "{refusal}");
        }
    }

    #[test]
    fn sizes_tell_decimal_from_binary_units() {
        assert_eq!(parse_size("16KiB"), Ok(16384));
        assert_eq!(parse_size("16KB"), Ok(16000));
        assert_eq!(parse_size("100"), Ok(100));
        assert!(parse_size("1.5MB").is_err());
        assert!(parse_size("99999999999999GiB").is_err());
    }

    #[test]
    fn durations_without_a_unit_are_seconds() {
        assert_eq!(parse_duration("30"), Ok(30_000_000_000));
        assert_eq!(parse_duration("500ms"), Ok(500_000_000));
        assert_eq!(parse_duration("250us"), Ok(250_000));
        assert_eq!(parse_duration("2m"), Ok(120_000_000_000));
        assert_eq!(parse_duration("7d"), Ok(604_800_000_000_000));
        assert!(parse_duration("-1s").is_err());
        assert!(parse_duration("soon").is_err());
    }

    #[test]
    fn a_config_needs_a_key() {
        assert_eq!(parse_config("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(parse_config("=b").is_err());
        assert!(parse_config("a").is_err());
    }
}
