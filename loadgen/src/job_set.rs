//! `--set jobs.a.rate=50k`: one key of a job file, given on the command line instead.

use std::fmt::Write;

/// One key, its table and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Override {
    /// As it was given, for messages.
    pub(crate) text: String,
    /// The job; `None` for `[global]`.
    pub(crate) job: Option<String>,
    key: String,
    value: String,
}

/// Reads `jobs.NAME.KEY=VALUE` or `global.KEY=VALUE`.
///
/// # Errors
/// Names the text and shows an example.
pub(crate) fn parse_override(text: &str) -> Result<Override, String> {
    let refusal = || format!("{text}: as in jobs.a.rate=50k or global.duration=10s");
    let (place, value) = text.split_once('=').ok_or_else(refusal)?;
    let names: Vec<&str> = place.split('.').collect();
    let (job, key) = match names[..] {
        ["jobs", job, key] if !job.is_empty() => (Some(job.to_owned()), key),
        ["global", key] => (None, key),
        _ => return Err(refusal()),
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if key.is_empty() || !key.chars().all(is_plain) {
        return Err(refusal());
    }
    let (key, value) = (key.to_owned(), value.to_owned());
    Ok(Override { text: text.to_owned(), job, key, value })
}

impl Override {
    /// The line that the file would have: a switch as a boolean, anything else as a string.
    pub(crate) fn to_toml(&self) -> String {
        let mut line = format!("{} = ", self.key);
        if ["true", "false"].contains(&&self.value[..]) {
            line.push_str(&self.value);
            return line;
        }
        line.push('"');
        for letter in self.value.chars() {
            match letter {
                '"' | '\\' => line.extend(['\\', letter]),
                letter if letter.is_control() => {
                    write!(line, "\\u{:04X}", u32::from(letter)).expect("writing to a string");
                }
                letter => line.push(letter),
            }
        }
        line.push('"');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_set_for_a_job_or_for_all() {
        let set = parse_override("jobs.a.rate=50k").unwrap();
        assert_eq!((set.job.as_deref(), &set.to_toml()[..]), (Some("a"), "rate = \"50k\""));
        let set = parse_override("global.spin=true").unwrap();
        assert_eq!((&set.job, &set.to_toml()[..]), (&None, "spin = true"));
        let set = parse_override("jobs.a.config=a=\"\\b\"").unwrap();
        assert_eq!(set.to_toml(), "config = \"a=\\\"\\\\b\\\"\"");
    }

    #[test]
    fn what_sets_nothing_is_refused_with_an_example() {
        for text in
            ["", "rate=5", "jobs.a=5", "jobs..rate=5", "jobs.a.rate", "global.=5", "a.b.c.d=1"]
        {
            let refusal = parse_override(text).unwrap_err();
            assert!(refusal.contains("as in jobs.a.rate=50k"), "{text}: {refusal}");
        }
    }
}
