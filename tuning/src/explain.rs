//! Teaches one tuner: what it is, why, how to set it by hand, how to undo that.

use crate::tuner::{Kind, Profile, Scene, Tuner, Want, command, files};
use crate::tuners;
use serde_json::{Value, json};

pub(crate) fn list() -> String {
    let width = tuners::all().map(|tuner| tuner.id.len()).max().unwrap_or(0);
    tuners::all().map(|tuner| format!("{:<width$}  {}\n", tuner.id, tuner.what)).collect()
}

pub(crate) fn list_json() -> Value {
    let row = |tuner: &Tuner| json!({ "id": tuner.id, "what": tuner.what });
    Value::from(tuners::all().map(row).collect::<Vec<_>>())
}

/// What is known of a tuner on this host.
struct Lesson {
    tuner: &'static Tuner,
    paths: Vec<String>,
    wants: Vec<(Profile, String)>,
    now: String,
    by_hand: Vec<String>,
    undo: Vec<String>,
}

const PROFILES: [Profile; 3] = [Profile::Dev, Profile::Throughput, Profile::Latency];

fn lesson(scene: &Scene, tuner: &'static Tuner) -> Lesson {
    let found = tuner.look(scene);
    let now = found.as_ref().map(|finding| finding.current.clone());
    match &tuner.kind {
        Kind::Report { by_hand, undo, .. } => Lesson {
            tuner,
            paths: Vec::new(),
            wants: Vec::new(),
            now: now.unwrap_or_default(),
            by_hand: vec![(*by_hand).to_owned()],
            undo: vec![(*undo).to_owned()],
        },
        Kind::Files { paths, wants } => {
            let here = files(scene, paths);
            let changes = found.map(|finding| finding.changes).unwrap_or_default();
            let mut by_hand: Vec<String> = changes.iter().map(|it| it.by_hand()).collect();
            let mut undo: Vec<String> =
                changes.iter().map(|it| command(&it.path, &it.old)).collect();
            if changes.is_empty() {
                let path = here.first().map_or(paths[0], String::as_str);
                let value = example(wants.of(scene.profile), wants.latency);
                by_hand.push(command(path, &value));
                let before = scene.host.setting(path).unwrap_or_else(|| "BEFORE".to_owned());
                undo.push(command(path, &before));
            }
            let current = || scene.host.setting(here.first()?);
            Lesson {
                tuner,
                now: now.or_else(current).unwrap_or_else(|| "not available here".to_owned()),
                paths: if here.is_empty() { shown(paths) } else { shown(&here) },
                wants: PROFILES.map(|it| (it, wants.of(it).shown())).to_vec(),
                by_hand,
                undo,
            }
        }
    }
}

fn shown<T: AsRef<str>>(paths: &[T]) -> Vec<String> {
    paths.iter().map(|path| format!("/{}", path.as_ref())).collect()
}

/// A value to show where nothing is to change; a profile that does not care borrows one.
fn example(want: Want, other: Want) -> String {
    match (want, other) {
        (Want::Exactly(value), _) | (Want::Leave, Want::Exactly(value)) => value.to_owned(),
        (Want::OneOf(values), _) | (Want::Leave, Want::OneOf(values)) => values[0].to_owned(),
        (Want::AtLeast(number) | Want::AtMost(number), _)
        | (Want::Leave, Want::AtLeast(number) | Want::AtMost(number)) => number.to_string(),
        (Want::Rule(..) | Want::Leave, _) => "VALUE".to_owned(),
    }
}

/// Longer lists of files say nothing more.
const LINES_MAX: usize = 6;

pub(crate) fn text(scene: &Scene, tuner: &'static Tuner) -> String {
    let lesson = lesson(scene, tuner);
    let Tuner { id, what, why, gain, risk, .. } = lesson.tuner;
    let mut text = format!("{id}: {what}\n\nwhy:   {why}\ngain:  {gain}\nrisk:  {risk}\n");
    text.push_str(&format!("now:   {}\n", lesson.now));
    if !lesson.wants.is_empty() {
        let wants =
            lesson.wants.iter().map(|(profile, want)| format!("{}: {want}", profile.name()));
        text.push_str(&format!("wants: {}\n", wants.collect::<Vec<_>>().join("; ")));
    }
    let is_set = !lesson.paths.is_empty();
    let undo = if is_set { "undo (tuning revert does it for what apply set)" } else { "undo" };
    for (title, lines) in
        [("where", lesson.paths), ("by hand", lesson.by_hand), (undo, lesson.undo)]
    {
        if lines.is_empty() {
            continue;
        }
        text.push_str(&format!("{title}:\n"));
        for line in lines.iter().take(LINES_MAX) {
            text.push_str(&format!("  {line}\n"));
        }
        if lines.len() > LINES_MAX {
            text.push_str(&format!("  ... and {} more\n", lines.len() - LINES_MAX));
        }
    }
    text
}

pub(crate) fn json(scene: &Scene, tuner: &'static Tuner) -> Value {
    let lesson = lesson(scene, tuner);
    let wants: serde_json::Map<String, Value> = lesson
        .wants
        .iter()
        .map(|(profile, want)| (profile.name().to_owned(), json!(want)))
        .collect();
    json!({
        "id": tuner.id,
        "what": tuner.what,
        "why": tuner.why,
        "gain": tuner.gain,
        "risk": tuner.risk,
        "now": lesson.now,
        "wants": wants,
        "paths": lesson.paths,
        "by_hand": lesson.by_hand,
        "undo": lesson.undo,
    })
}
