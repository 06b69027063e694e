//! Just enough Rust: tells code from comments and strings, finds functions, blocks and test code.
//!
//! Views have the length and the line breaks of the source, with blanks where something was taken
//! out, so a position found in one of them holds in all.

use super::tree::line_of;
use std::ops::Range;

/// Mark what is compiled for tests only. The simulator itself is held to all rules.
pub(crate) const TEST_ATTRIBUTES: [&str; 2] =
    ["#[cfg(test)]", "#[cfg(any(test, feature = \"sim\"))]"];

pub(crate) struct Views {
    /// Without comments and without the contents of strings and character literals.
    pub(crate) code: String,
    /// Comments only.
    pub(crate) comments: String,
}

pub(crate) struct Function {
    pub(crate) name: String,
    /// From `fn` to the closing brace, in bytes.
    pub(crate) range: Range<usize>,
    pub(crate) first_line: usize,
    pub(crate) line_count: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Code,
    Comment,
    Literal,
}

pub(crate) fn views(source: &str) -> Views {
    let parts = split(source.as_bytes());
    let only = |wanted: Part| {
        let keep = |(byte, part): (u8, &Part)| match (byte, *part == wanted) {
            (b'\n', _) | (_, true) => byte,
            _ => b' ',
        };
        let bytes: Vec<u8> = source.bytes().zip(&parts).map(keep).collect();
        String::from_utf8(bytes).expect("parts begin and end at ASCII bytes")
    };
    Views { code: only(Part::Code), comments: only(Part::Comment) }
}

fn split(bytes: &[u8]) -> Vec<Part> {
    let mut parts = Vec::with_capacity(bytes.len());
    while parts.len() < bytes.len() {
        let at = parts.len();
        let rest = &bytes[at..];
        let (length, part) = if rest.starts_with(b"//") {
            (rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()), Part::Comment)
        } else if rest.starts_with(b"/*") {
            (block_comment(rest), Part::Comment)
        } else if let Some(length) = string_literal(rest, at > 0 && is_word(bytes[at - 1])) {
            (length, Part::Literal)
        } else {
            (1, Part::Code)
        };
        parts.resize(at + length, part);
    }
    parts
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
        } else {
            at += 1;
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Length of the string or character literal that begins here.
fn string_literal(rest: &[u8], follows_word: bool) -> Option<usize> {
    let prefix = match rest {
        [b'b' | b'c', b'r', ..] => 2,
        [b'r' | b'b' | b'c', ..] => 1,
        _ => 0,
    };
    if prefix > 0 && follows_word {
        return None;
    }
    let hashes = rest[prefix..].iter().take_while(|byte| **byte == b'#').count();
    let is_raw = prefix > 0 && rest[prefix - 1] == b'r';
    match rest.get(prefix + hashes)? {
        b'"' if is_raw => {
            let end = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
            let body = prefix + hashes + 1;
            let closing = rest[body..].windows(end.len()).position(|window| window == end);
            Some(closing.map_or(rest.len(), |closing| body + closing + end.len()))
        }
        b'"' if hashes == 0 => Some(quoted(rest, prefix + 1, b'"')),
        b'\'' if hashes == 0 && !is_raw && is_character(&rest[prefix + 1..]) => {
            Some(quoted(rest, prefix + 1, b'\''))
        }
        _ => None,
    }
}

/// Tells 'a' from the lifetime 'a.
fn is_character(rest: &[u8]) -> bool {
    match rest {
        [b'\\', ..] => true,
        [first, ..] if !first.is_ascii() => true,
        [_, b'\'', ..] => true,
        _ => false,
    }
}

fn quoted(rest: &[u8], body: usize, quote: u8) -> usize {
    let mut at = body;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Positions at which `word` stands by itself.
pub(crate) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let bytes = code.as_bytes();
        let before = at.checked_sub(1).is_none_or(|before| !is_word(bytes[before]));
        before && bytes.get(at + word.len()).is_none_or(|byte| !is_word(*byte))
    })
}

pub(crate) fn identifier(code: &str) -> &str {
    let end = code.bytes().position(|byte| !is_word(byte)).unwrap_or(code.len());
    &code[..end]
}

/// Every function with a body, nested ones too.
pub(crate) fn functions(code: &str) -> Vec<Function> {
    words(code, "fn")
        .filter_map(|start| {
            let name = identifier(code[start + 2..].trim_start());
            let range = item(code, start);
            let has_body = !name.is_empty() && code[range.clone()].ends_with('}');
            has_body.then(|| Function {
                name: name.to_owned(),
                first_line: line_of(code, start),
                line_count: code[range.clone()].lines().count(),
                range,
            })
        })
        .collect()
}

/// From `start` to the end of the item there: its `;`, or the end of its block.
pub(crate) fn item(code: &str, start: usize) -> Range<usize> {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return start..block_end(code, at),
            b';' if depth == 0 => return start..at + 1,
            _ => {}
        }
    }
    start..code.len()
}

/// Just behind the brace that closes the one at `open`.
pub(crate) fn block_end(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// The code that ships: items under a test attribute are blanked.
pub(crate) fn shipped(code: &str) -> String {
    let mut bytes = code.as_bytes().to_vec();
    for (at, _) in code.match_indices("#[cfg(") {
        // Contents of strings are blank in this view, so the condition is known by its length.
        let end = at + code[at..].find(']').expect("an attribute ends") + 1;
        let condition = &code[at..end];
        let is_test = condition == TEST_ATTRIBUTES[0]
            || (condition.starts_with("#[cfg(any(test, feature = ")
                && condition.len() == TEST_ATTRIBUTES[1].len());
        if !is_test {
            continue;
        }
        let mut start = end;
        while code[start..].trim_start().starts_with("#[") {
            start += code[start..].find(']').expect("an attribute ends") + 1;
        }
        for byte in &mut bytes[item(code, start)] {
            if *byte != b'\n' && byte.is_ascii() {
                *byte = b' ';
            }
        }
    }
    String::from_utf8(bytes).expect("only ASCII was replaced")
}

#[test]
fn comments_strings_and_lifetimes_are_told_apart() {
    let source = "a('{'); // }\nb::<'a>(\"{\\\"\", r#\"\"{\"#, b'\\'', '}'); /* { /* } */ */ c";
    let found = views(source);
    let brackets: String = found.code.chars().filter(|char| "{}".contains(*char)).collect();
    assert_eq!(brackets, "");
    assert!(found.code.contains("b::<'a>(") && found.code.ends_with('c'));
    assert_eq!(found.comments.trim_start().lines().next(), Some("// }"));
    assert_eq!(found.code.len(), source.len());
}

#[test]
fn a_function_ends_at_its_own_brace() {
    let code =
        views("trait T { fn none(&self); }\nfn one<'a>(x: [u8; 2]) -> u8 {\n  '}';\n}\n").code;
    let found: Vec<_> =
        functions(&code).into_iter().map(|f| (f.name, f.first_line, f.line_count)).collect();
    assert_eq!(found, [("one".to_owned(), 2, 3)]);
}

#[test]
fn test_items_are_not_shipped() {
    let code =
        "fn a() { x }\n#[cfg(test)]\n#[allow(dead)]\nmod tests { fn b() { y } }\nfn c() { z }";
    let left = shipped(code);
    assert!(left.contains("{ x }") && left.contains("{ z }") && !left.contains('y'));
}
