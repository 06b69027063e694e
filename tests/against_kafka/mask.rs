//! Takes out of an answer's text what two brokers cannot have in common.

/// Fields whose value is an identity, a place or one broker's own words, with a star for each.
const MASKED: [&str; 11] = [
    "batch_index_error_message",
    "cluster_id",
    "error_message",
    "host",
    "log_dir",
    "partition_size",
    "port",
    "producer_id",
    // A tagged field of our own.
    "rebalances",
    "total_bytes",
    "usable_bytes",
];
/// What says nothing of a leader: Kafka's share APIs write zeros, which clients take for broker 0,
/// so ours write what Fetch writes.
const NO_LEADERS: [&str; 2] = [
    "LeaderIdAndEpoch { leader_id: -1, leader_epoch: -1 }",
    "LeaderIdAndEpoch { leader_id: 0, leader_epoch: 0 }",
];
/// Digits of an id in groups, as ids of topics and members are written.
const ID_GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

/// The text of an answer without what must differ.
pub(crate) fn masked(text: &str) -> String {
    let mut out = mask_ids(text);
    for field in MASKED {
        out = mask_values(&out, field);
    }
    NO_LEADERS.iter().fold(out, |out, none| out.replace(none, "no leader is named"))
}

/// Replaces what a field holds, wherever it is, by a star.
pub(crate) fn mask_values(text: &str, field: &str) -> String {
    let start = format!("{field}: ");
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(&start) {
        let is_whole = !rest[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let (head, tail) = rest.split_at(at + start.len());
        out.push_str(head);
        rest = tail;
        if is_whole {
            out.push('*');
            rest = &rest[end_of_value(rest)..];
        }
    }
    out + rest
}

/// Where the value at the front of a struct's text ends.
fn end_of_value(text: &str) -> usize {
    let (mut depth, mut is_quoted, mut is_escaped) = (0, false, false);
    for (at, c) in text.char_indices() {
        if is_quoted {
            is_quoted = c != '"' || is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            continue;
        }
        match c {
            '"' => is_quoted = true,
            '(' | '[' | '{' => depth += 1,
            ',' if depth == 0 => return at,
            ' ' if depth == 0 && text[at..].starts_with(" }") => return at,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// Ids of topics, members and incarnations; the nil id says that there is none, and stays.
fn mask_ids(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        match id_at(rest) {
            Some(id) if id.bytes().any(|byte| byte != b'0' && byte != b'-') => {
                out.push('*');
                rest = &rest[id.len()..];
            }
            _ => {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    out
}

/// The id that a text begins with.
fn id_at(text: &str) -> Option<&str> {
    let size = ID_GROUPS.iter().sum::<usize>() + ID_GROUPS.len() - 1;
    let id = text.get(..size)?;
    let mut groups = id.split('-');
    let is_group = |size: &usize| {
        groups.next().is_some_and(|group| {
            group.len() == *size && group.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    };
    ID_GROUPS.iter().all(is_group).then_some(id)
}

/// Both texts from shortly before they part to shortly behind where they meet again.
pub(crate) fn parting(ours: &str, kafkas: &str) -> [String; 2] {
    const AROUND: usize = 90;
    let same = |a: &mut dyn Iterator<Item = char>, b: &mut dyn Iterator<Item = char>| {
        a.zip(b).take_while(|(a, b)| a == b).count()
    };
    let head = same(&mut ours.chars(), &mut kafkas.chars());
    let tail = same(&mut ours.chars().rev(), &mut kafkas.chars().rev());
    [ours, kafkas].map(|text| {
        let count = text.chars().count();
        let from = head.saturating_sub(AROUND);
        let to = (count - tail.min(count - head.min(count)) + AROUND / 3).min(count);
        let part: String = text.chars().skip(from).take(to.saturating_sub(from)).collect();
        format!("{}{part}{}", if from > 0 { ".." } else { "" }, if to < count { ".." } else { "" })
    })
}

#[test]
fn ids_and_words_are_masked_and_everything_else_stays() {
    let id = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
    let text =
        format!(r#"A {{ topic_id: {id}, port: 3 }}, B {{ error_message: Some("a }}"), code: 4 }}"#);
    let wanted = r#"A { topic_id: *, port: * }, B { error_message: *, code: 4 }"#;
    assert_eq!(masked(&text), wanted);
    assert_eq!(
        masked(&format!(r#"M {{ member_id: "wire-{id}" }}"#)),
        r#"M { member_id: "wire-*" }"#
    );
    let nil = "T { topic_id: 00000000-0000-0000-0000-000000000000 }";
    assert_eq!(masked(nil), nil);
}

#[test]
fn a_difference_is_shown_with_what_is_around_it() {
    let long = "x".repeat(200);
    let [ours, kafkas] = parting(&format!("{long}a{long}"), &format!("{long}bb{long}"));
    assert_eq!(ours, format!("..{}a{}..", &long[..90], &long[..30]));
    assert_eq!(kafkas, format!("..{}bb{}..", &long[..90], &long[..30]));
}
