//! Arrows between modules point downwards only; siblings do not know each other.
//!
//! Test code is free: a test of a lower layer may use the simulator.

use super::modules::shipped_files;
use super::rust::{identifier, shipped, views, words};
use super::tree::{Finding, Tree, finding, line_of};

/// The layer of every module of the library. A new module starts by getting its line here.
const LAYERS: [(&str, u8); 14] = [
    ("model", 0),
    ("protocol", 1),
    ("storage", 2),
    ("replication", 2),
    ("controller", 2),
    ("coordinator", 2),
    ("security", 2),
    ("shard", 3),
    ("api", 4),
    ("cluster", 4),
    ("runtime", 5),
    ("sim", 5),
    ("admin", 5),
    ("cli", 6),
];

/// What the members of the workspace may use of the library.
const MEMBERS: [(&str, &[&str]); 2] = [("loadgen", &["model", "protocol"]), ("tuning", &["model"])];

pub(crate) fn layers(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, source) in shipped_files(tree) {
        let code = shipped(&views(source).code);
        let Some(from) = Place::of(path) else { continue };
        for (at, target) in used_modules(path, &code) {
            if let Some(fault) = from.fault(target) {
                findings.push(finding(path, line_of(&code, at), fault));
            }
        }
        for at in words(&code, "use") {
            if let Some(fault) = re_export(&from, &code[..at], &code[at + 3..]) {
                findings.push(finding(path, line_of(&code, at), fault));
            }
        }
    }
    findings
}

enum Place<'a> {
    /// A module of the library and its layer; `None` is missing in the table.
    Module(&'a str, Option<u8>),
    Member(&'a str, &'static [&'static str]),
}

impl<'a> Place<'a> {
    /// `None` for the roots of the library and of the broker, which may see everything.
    fn of(path: &'a str) -> Option<Place<'a>> {
        for (member, allowed) in MEMBERS {
            if path.starts_with(&format!("{member}/")) {
                return Some(Place::Member(member, allowed));
            }
        }
        let rest = path.strip_prefix("src/")?;
        let module = identifier(rest);
        (module != "main" && module != "lib").then(|| Place::Module(module, layer(module)))
    }

    fn fault(&self, target: &str) -> Option<String> {
        match self {
            Place::Member(member, allowed) => {
                let is_foreign = layer(target).is_some() && !allowed.contains(&target);
                is_foreign.then(|| format!("{member} may use {allowed:?} only, not {target}"))
            }
            Place::Module(own, None) => {
                Some(format!("{own} has no layer: see tests/tidy/layers.rs"))
            }
            Place::Module(own, Some(_)) if *own == target => None,
            Place::Module(own, Some(from)) => match layer(target) {
                None => None,
                Some(to) if to < *from => None,
                Some(to) if to == *from => Some(format!(
                    "{own} and {target} are siblings (L{to}) and do not know each other"
                )),
                Some(to) => Some(format!("{own} (L{from}) looks up to {target} (L{to})")),
            },
        }
    }
}

fn layer(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

/// Top-level modules named by `crate::`, `highwater::` or a run of `super::`, with their position.
fn used_modules<'a>(path: &str, code: &'a str) -> Vec<(usize, &'a str)> {
    let mut used = Vec::new();
    let roots: &[&str] =
        if path.starts_with("src/") { &["crate", "highwater"] } else { &["highwater"] };
    for root in roots {
        for at in words(code, root) {
            if let Some(rest) = code[at + root.len()..].strip_prefix("::") {
                used.extend(first_segments(rest).into_iter().map(|segment| (at, segment)));
            }
        }
    }
    if roots.len() == 1 {
        return used;
    }
    let supers_to_root = module_depth(path);
    for (at, chain) in code.match_indices(&"super::".repeat(supers_to_root)) {
        used.push((at, identifier(&code[at + chain.len()..])));
    }
    used
}

/// How many `super::` lead from the file's own module to the root of its crate.
fn module_depth(path: &str) -> usize {
    path.trim_start_matches("src/").split('/').filter(|part| *part != "mod.rs").count()
}

/// The first names of `a::b` or of `{a::b, c}`.
fn first_segments(rest: &str) -> Vec<&str> {
    let Some(group) = rest.strip_prefix('{') else { return vec![identifier(rest)] };
    let mut segments = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, byte) in group.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b',' | b'}' if depth == 0 => {
                segments.push(identifier(group[start..at].trim_start()));
                start = at + 1;
                if byte == b'}' {
                    break;
                }
            }
            b'}' => depth -= 1,
            _ => {}
        }
    }
    segments.retain(|segment| !segment.is_empty());
    segments
}

/// `pub use` of another module makes an edge that the next reader does not see.
fn re_export(from: &Place<'_>, before: &str, after: &str) -> Option<String> {
    let is_public = before.trim_end().ends_with("pub") || before.trim_end().ends_with("pub(crate)");
    let path = after.trim_start();
    let rest = path.strip_prefix("crate::").or_else(|| path.strip_prefix("highwater::"))?;
    let own = match from {
        Place::Module(own, _) => *own,
        Place::Member(..) => "",
    };
    let foreign = first_segments(rest).into_iter().find(|segment| *segment != own)?;
    (is_public && layer(foreign).is_some())
        .then(|| format!("a re-export hides the edge to {foreign}: name it where it is used"))
}

#[cfg(test)]
fn faults(path: &str, source: &str) -> Vec<String> {
    let lib = "pub mod storage; pub mod shard; pub mod model; pub mod odd; pub mod protocol;";
    let tree = Tree::planted(&[
        ("src/lib.rs", lib),
        ("loadgen/src/main.rs", ""),
        ("tuning/src/main.rs", ""),
        (path, source),
    ]);
    layers(&tree).into_iter().map(|finding| finding.text).collect()
}

#[test]
fn an_arrow_upwards_is_reported() {
    assert_eq!(
        faults("src/storage/mod.rs", "fn a() { crate::shard::b(); }"),
        ["storage (L2) looks up to shard (L3)"]
    );
    assert_eq!(faults("src/model/mod.rs", "use super::protocol::x;").len(), 1);
    assert_eq!(faults("src/model.rs", "use crate::{a, protocol::{b, c}, shard};").len(), 2);
}

#[test]
fn an_arrow_between_siblings_is_reported() {
    let text = "use crate::{\n    model::Offset,\n    replication::Leader,\n};";
    assert_eq!(
        faults("src/storage/mod.rs", text),
        ["storage and replication are siblings (L2) and do not know each other"]
    );
}

#[test]
fn a_re_export_of_a_lower_layer_is_reported() {
    assert_eq!(faults("src/shard/mod.rs", "pub use crate::storage::Segment;").len(), 1);
    assert_eq!(faults("src/shard/mod.rs", "pub use crate::shard::shard::Shard;").len(), 0);
}

#[test]
fn a_module_without_a_layer_is_reported() {
    assert_eq!(faults("src/odd.rs", "use crate::model::Offset;").len(), 1);
}

#[test]
fn members_see_their_part_of_the_library_only() {
    assert_eq!(faults("loadgen/src/main.rs", "use highwater::{model, storage};").len(), 1);
    assert_eq!(faults("tuning/src/main.rs", "use highwater::protocol::frame;").len(), 1);
    assert_eq!(faults("tuning/src/main.rs", "use highwater::model::limits;").len(), 0);
    assert_eq!(faults("loadgen/src/main.rs", "mod cli; use crate::cli::Run;").len(), 0);
}

#[test]
fn arrows_downwards_comments_and_tests_are_free() {
    let text =
        "//! See `crate::shard`.\nuse crate::model::Offset;\n#[cfg(test)]\nuse crate::sim::Disk;";
    assert_eq!(faults("src/storage/mod.rs", text), [""; 0]);
}
