//! Which of two outputs' lines must be the same.

use crate::differences::Difference;

pub(crate) fn is_about(difference: &Difference, command: &str) -> bool {
    difference.commands.iter().any(|start| command.starts_with(start))
}

/// Leaves the lines that must be the same although there is this difference.
pub(crate) fn remove_expected(difference: &Difference, sides: &mut [Vec<String>; 2]) {
    let is_expected = |line: &String| difference.lines.iter().any(|part| line.contains(part));
    for side in sides.iter_mut() {
        side.retain(|line| !is_expected(line));
    }
    if let Some(end) = difference.common_up_to {
        let key = |line: &String| line.split(end).next().unwrap_or_default().to_owned();
        let [ours, kafkas] = sides.each_ref().map(|side| side.iter().map(key).collect::<Vec<_>>());
        for side in sides {
            side.retain(|line| ours.contains(&key(line)) && kafkas.contains(&key(line)));
        }
    }
}

#[test]
fn lines_that_one_side_only_has_are_expected_where_the_table_says_so() {
    let difference = Difference {
        what: "",
        commands: &["a"],
        lines: &["place="],
        common_up_to: Some('='),
        reason: "",
    };
    assert!(is_about(&difference, "a b") && !is_about(&difference, "b"));
    let lines = |text: &str| text.split(' ').map(str::to_owned).collect();
    let mut sides = [lines("both=1 ours=2 place=3"), lines("both=4 kafkas=5 place=6")];
    remove_expected(&difference, &mut sides);
    assert_eq!(sides, [lines("both=1"), lines("both=4")]);
}
