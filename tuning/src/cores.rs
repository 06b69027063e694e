//! Sets of cores as the kernel writes them: lists (`0-3,8`) and masks (`f,00000003`).

/// The cores of a list, in its order; `None` where it is not one.
pub(crate) fn parse(list: &str) -> Option<Vec<u32>> {
    let mut cores = Vec::new();
    for part in list.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        // A list longer than any machine is a mistake, not a machine.
        if last >= CORES_MAX || first > last {
            return None;
        }
        cores.extend(first..=last);
    }
    Some(cores)
}

/// More than any kernel is built for (NR_CPUS).
const CORES_MAX: u32 = 8192;

/// Words of 32 bits, the highest first, as the kernel prints masks.
pub(crate) fn mask(cores: &[u32]) -> String {
    let highest = cores.iter().max().map_or(0, |core| core / 32);
    let words = (0..=highest).rev().map(|word| {
        cores
            .iter()
            .filter(|core| **core / 32 == word)
            .fold(0_u32, |bits, core| bits | 1 << (core % 32))
    });
    let words: Vec<String> = words.map(|word| format!("{word:08x}")).collect();
    let text = words.join(",");
    text.trim_start_matches('0').to_owned()
}

/// Whether two texts name the same mask, however many zeros they begin with.
pub(crate) fn is_same_mask(one: &str, other: &str) -> bool {
    let bare = |text: &str| text.replace(',', "").trim_start_matches('0').to_owned();
    bare(one) == bare(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_masks_are_the_kernels() {
        assert_eq!(parse("0-2,5\n"), Some(vec![0, 1, 2, 5]));
        assert_eq!(parse(""), Some(Vec::new()));
        for wrong in ["a", "3-1", "0-99999", "1-"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(mask(&[0, 1]), "3");
        assert_eq!(mask(&[0, 33]), "2,00000001");
        assert!(is_same_mask("00000000,00000003", "3") && !is_same_mask("3", "30"));
    }
}
