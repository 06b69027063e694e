//! Where the broker's settings are written: a properties file, the environment, flags.
//!
//! Text in, settings out; what they mean is `model/broker_config.rs`. Reading order is precedence:
//! a flag wins over the environment, which wins over the file.

use crate::model::broker_config::{Origin, Setting};
use std::io;
use std::path::{Path, PathBuf};

/// Variables that are no configuration keys: those of Kafka's container images that configure a
/// Java process or the image itself, and our own for logs and the command line.
const FOREIGN_VARIABLES: &[&str] = &[
    "HIGHWATER_BOOTSTRAP",
    "HIGHWATER_LOG",
    "KAFKA_CLASSPATH",
    "KAFKA_DEBUG",
    "KAFKA_GC_LOG_OPTS",
    "KAFKA_HEAP_OPTS",
    "KAFKA_HOME",
    "KAFKA_JMX_HOSTNAME",
    "KAFKA_JMX_OPTS",
    "KAFKA_JMX_PORT",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_LOG4J_LOGGERS",
    "KAFKA_LOG4J_OPTS",
    "KAFKA_LOG4J_ROOT_LOGLEVEL",
    "KAFKA_OPTS",
    "KAFKA_TOOLS_LOG4J_LOGLEVEL",
    "KAFKA_USER",
    "KAFKA_VERSION",
];

/// Settings that cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("configuration file {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path}:{line}: \\u is followed by {found:?}, not by four hexadecimal digits")]
    Unicode { path: String, line: usize, found: String },
    #[error("--override {text}: not key=value, as in --override num.partitions=3")]
    Override { text: String },
}

/// All settings in rising precedence. `variables` is the whole environment.
///
/// # Errors
/// The file cannot be read, or it or an override is no list of `key=value`.
pub fn settings(
    file: Option<&Path>,
    variables: impl Iterator<Item = (String, String)>,
    overrides: &[String],
) -> Result<Vec<Setting>, SourceError> {
    let mut settings = match file {
        Some(path) => read_properties(path)?,
        None => Vec::new(),
    };
    settings.extend(from_environment(variables));
    for text in overrides {
        settings.push(parse_override(text)?);
    }
    Ok(settings)
}

fn read_properties(path: &Path) -> Result<Vec<Setting>, SourceError> {
    let bytes = std::fs::read(path)
        .map_err(|source| SourceError::Read { path: path.to_owned(), source })?;
    // Java reads properties as Latin-1; editors write UTF-8. What is not UTF-8 is Latin-1.
    let text = String::from_utf8(bytes)
        .unwrap_or_else(|error| error.into_bytes().into_iter().map(char::from).collect());
    parse_properties(&path.display().to_string(), &text)
}

/// A Java properties file: comments, continuation lines, `=`, `:` or blanks after the key,
/// escapes. `path` is only named.
pub fn parse_properties(path: &str, text: &str) -> Result<Vec<Setting>, SourceError> {
    let mut settings = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, first)) = lines.next() {
        let first = first.trim_start();
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = first.to_owned();
        while is_continued(&logical) {
            logical.pop();
            match lines.next() {
                Some((_, next)) => logical.push_str(next.trim_start()),
                None => break,
            }
        }
        let line = index + 1;
        let (key, value) = split(&logical);
        let unescape = |text| {
            unescape(text).map_err(|found| SourceError::Unicode {
                path: path.to_owned(),
                line,
                found,
            })
        };
        settings.push(Setting {
            key: unescape(key)?,
            value: unescape(value)?,
            origin: Origin::File { path: path.to_owned(), line },
        });
    }
    Ok(settings)
}

/// `KAFKA_LOG_RETENTION_HOURS` is `log.retention.hours`; `__` is `_`, `___` is `-`.
pub fn from_environment(variables: impl Iterator<Item = (String, String)>) -> Vec<Setting> {
    let mut settings: Vec<Setting> = variables
        .filter_map(|(variable, value)| {
            let key = environment_key(&variable)?;
            Some(Setting { key, value, origin: Origin::Environment { variable } })
        })
        .collect();
    settings.sort_by(|a, b| a.key.cmp(&b.key));
    settings
}

/// `key=value`.
pub fn parse_override(text: &str) -> Result<Setting, SourceError> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok(Setting {
            key: key.trim().to_owned(),
            value: value.to_owned(),
            origin: Origin::Flag,
        }),
        Some(_) | None => Err(SourceError::Override { text: text.to_owned() }),
    }
}

fn environment_key(variable: &str) -> Option<String> {
    if variable == "CLUSTER_ID" {
        return Some("highwater.cluster.id".to_owned());
    }
    if FOREIGN_VARIABLES.contains(&variable) {
        return None;
    }
    let rest = match variable.strip_prefix("KAFKA_CFG_") {
        Some(rest) => rest,
        None if variable.starts_with("HIGHWATER_") => variable,
        None => variable.strip_prefix("KAFKA_")?,
    };
    if rest.is_empty() {
        return None;
    }
    let dotted = rest.to_ascii_lowercase().replace("___", "-").replace("__", "\0");
    Some(dotted.replace('_', ".").replace('\0', "_"))
}

/// True when the line ends in an odd number of backslashes.
fn is_continued(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Key and value of a logical line, escapes still in them.
fn split(line: &str) -> (&str, &str) {
    let mut is_escaped = false;
    let end = line.find(|c: char| {
        let ends = !is_escaped && (c == '=' || c == ':' || is_blank(c));
        is_escaped = c == '\\' && !is_escaped;
        ends
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(is_blank);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, value.trim_start_matches(is_blank))
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c')
}

/// Resolves backslashes; the error is what followed a bad `\u`.
fn unescape(text: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(text.len());
    let mut units: Vec<u16> = Vec::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let resolved = match (c, if c == '\\' { rest.next() } else { None }) {
            ('\\', Some('u')) => {
                let digits: String = rest.by_ref().take(4).collect();
                let is_hex = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_hexdigit());
                let unit = u16::from_str_radix(&digits, 16).ok().filter(|_| is_hex);
                units.push(unit.ok_or(digits)?);
                continue;
            }
            ('\\', Some('t')) => Some('\t'),
            ('\\', Some('n')) => Some('\n'),
            ('\\', Some('r')) => Some('\r'),
            ('\\', Some('f')) => Some('\x0c'),
            ('\\', other) => other,
            (other, _) => Some(other),
        };
        flush_units(&mut units, &mut plain);
        plain.extend(resolved);
    }
    flush_units(&mut units, &mut plain);
    Ok(plain)
}

/// `\u` escapes are UTF-16: two of them may be one character.
fn flush_units(units: &mut Vec<u16>, plain: &mut String) {
    plain.push_str(&String::from_utf16_lossy(units));
    units.clear();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::broker_config::BrokerConfig;

    fn parse(text: &str) -> Vec<(String, String)> {
        let settings = parse_properties("f", text).unwrap();
        settings.into_iter().map(|setting| (setting.key, setting.value)).collect()
    }

    fn one(line: &str) -> (String, String) {
        let mut parsed = parse(line);
        assert_eq!(parsed.len(), 1, "{line}");
        parsed.remove(0)
    }

    #[test]
    fn keys_and_values_are_split_as_java_does() {
        for line in ["a=b", "a:b", "a b", "a = b", "  a\t:\tb", "a =  b", "\\a=b"] {
            assert_eq!(one(line), ("a".into(), "b".into()), "{line}");
        }
        assert_eq!(one("a"), ("a".into(), String::new()));
        assert_eq!(one("a="), ("a".into(), String::new()));
        assert_eq!(one("a==b"), ("a".into(), "=b".into()));
        assert_eq!(one("a\\=b=c"), ("a=b".into(), "c".into()));
        assert_eq!(one("a\\ b c"), ("a b".into(), "c".into()));
        assert_eq!(
            one("listeners=PLAINTEXT://:9092"),
            ("listeners".into(), "PLAINTEXT://:9092".into())
        );
    }

    #[test]
    fn comments_and_blank_lines_are_skipped() {
        assert_eq!(parse("# a=b\n  ! c=d\n\n \t\n"), []);
        assert_eq!(one("a=b # not a comment"), ("a".into(), "b # not a comment".into()));
    }

    #[test]
    fn a_backslash_at_the_end_goes_on_with_the_next_line() {
        assert_eq!(one("a=b,\\\n   c,\\\n\td"), ("a".into(), "b,c,d".into()));
        assert_eq!(one("a=b\\\\"), ("a".into(), "b\\".into()));
        assert_eq!(one("a=b\\"), ("a".into(), "b".into()));
        assert_eq!(one("a=b\\\n# no comment here"), ("a".into(), "b# no comment here".into()));
    }

    #[test]
    fn escapes_are_resolved() {
        assert_eq!(one(r"a=\t\n\r\f\\\:\q").1, "\t\n\r\x0c\\:q");
        assert_eq!(one(r"a=\u00e4\uD83D\uDE00x").1, "ä😀x");
        let error = parse_properties("f", "x=1\na=\\u12g4").unwrap_err();
        assert_eq!(
            error.to_string(),
            "f:2: \\u is followed by \"12g4\", not by four hexadecimal digits"
        );
    }

    #[test]
    fn a_line_number_is_that_of_the_keys_line() {
        let settings = parse_properties("server.properties", "#\na=b\\\nc\r\nd=e\r\n").unwrap();
        let origins: Vec<String> = settings.iter().map(|s| s.origin.to_string()).collect();
        assert_eq!(origins, ["server.properties:2", "server.properties:4"]);
        assert_eq!(settings[1].value, "e");
    }

    #[test]
    fn variables_become_keys() {
        for (variable, key) in [
            ("KAFKA_LOG_RETENTION_HOURS", Some("log.retention.hours")),
            ("KAFKA_BROKER_ID", Some("broker.id")),
            ("KAFKA_A__B___C_D", Some("a_b-c.d")),
            ("KAFKA_CFG_NODE_ID", Some("node.id")),
            ("HIGHWATER_CORES", Some("highwater.cores")),
            ("KAFKA_HIGHWATER_CORES", Some("highwater.cores")),
            ("CLUSTER_ID", Some("highwater.cluster.id")),
            ("KAFKA_HEAP_OPTS", None),
            ("KAFKA_", None),
            ("PATH", None),
        ] {
            assert_eq!(environment_key(variable).as_deref(), key, "{variable}");
        }
    }

    #[test]
    fn a_flag_wins_over_the_environment_and_that_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("server.properties");
        std::fs::write(&file, "num.partitions=1\nnode.id=4\nlog.retention.hours=9\n").unwrap();
        let variables = [("KAFKA_NUM_PARTITIONS", "2"), ("KAFKA_NODE_ID", "5")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let overrides = ["num.partitions=3".to_owned()];
        let settings = settings(Some(&file), variables.into_iter(), &overrides).unwrap();
        let (config, warnings) = BrokerConfig::from_settings(&settings).unwrap();
        assert_eq!((config.partitions, config.node_id.0), (3, 5));
        assert_eq!(config.values["log.retention.hours"], "9");
        assert_eq!(warnings, []);
    }

    #[test]
    fn an_override_without_a_key_is_refused() {
        for text in ["num.partitions", "=3", ""] {
            assert!(parse_override(text).is_err(), "{text}");
        }
        assert_eq!(parse_override("a=b=c").unwrap().value, "b=c");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = settings(Some(Path::new("/no/such.properties")), std::iter::empty(), &[]);
        assert_eq!(error.unwrap_err().to_string(), "configuration file /no/such.properties");
    }
}
