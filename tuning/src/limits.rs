//! Resource limits as `/proc/self/limits` states them.

use crate::host::Host;

/// `None` = unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) soft: Option<u64>,
    pub(crate) hard: Option<u64>,
}

impl Limit {
    /// The broker raises its soft limit to the hard one, so the hard one counts.
    pub(crate) fn allows(self, wanted: u64) -> bool {
        self.hard.is_none_or(|hard| hard >= wanted)
    }
}

pub(crate) fn limit(host: &Host, name: &str) -> Option<Limit> {
    let text = host.text("proc/self/limits")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let mut words = line.split_whitespace().map(|word| match word {
        "unlimited" => Some(None),
        number => number.parse().ok().map(Some),
    });
    Some(Limit { soft: words.next()??, hard: words.next()?? })
}
