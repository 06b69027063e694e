//! What differs from record to record: the size of the value, and the key.
//!
//! ```text
//! sizes   100 | uniform(64,512) | zipf(64,512)
//! keys    none | sequential(n) | uniform(n) | zipf(n) | zipf(n,s)
//! ```

use crate::interval::to_f64;
use crate::schedule::Random;
use crate::units::parse_size;

/// Different keys, or different sizes, that one distribution may have: the table of a Zipf
/// distribution has an entry for each.
const CHOICES_MAX: u64 = 1_000_000;

/// Of key number `n + 1` there are `1 / (n + 1)` as many as of key number 0.
const ZIPF_EXPONENT: f64 = 1.0;

/// How large the values of records are, in bytes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Sizes {
    /// All the same.
    Fixed(usize),
    /// Each size in the range as often as any other.
    Uniform { min: usize, max: usize },
    /// The smallest most often, each further one more seldom.
    Zipf { min: usize, max: usize },
}

/// The keys of records.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Keys {
    /// Records have none.
    None,
    /// So many keys in turn.
    Sequential(u64),
    /// So many keys, each as often as any other.
    Uniform(u64),
    /// So many keys, of which number `n` comes `1 / (n + 1)^exponent` as often as number 0.
    Zipf { count: u64, exponent: f64 },
}

/// A call such as `zipf(64,512)`: its name and its values; a bare word is a name without values.
fn parse_call(text: &str) -> Option<(&str, Vec<&str>)> {
    match text.split_once('(') {
        Some((name, rest)) => {
            Some((name, rest.strip_suffix(')')?.split(',').map(str::trim).collect()))
        }
        None => Some((text, Vec::new())),
    }
}

/// Reads a size, `uniform(min,max)` or `zipf(min,max)`.
///
/// # Errors
/// Names the text and shows examples.
pub(crate) fn parse_sizes(text: &str) -> Result<Sizes, String> {
    let refusal = || {
        format!(
            "{text}: a size is as in 100 or 1KiB, or a distribution as in uniform(64,512) or \
             zipf(64,512), from small to large"
        )
    };
    let (name, values) = parse_call(text).ok_or_else(refusal)?;
    if values.is_empty() {
        return parse_size(text).map(Sizes::Fixed).map_err(|_| refusal());
    }
    let [min, max] = values[..] else {
        return Err(refusal());
    };
    let (min, max) =
        (parse_size(min).map_err(|_| refusal())?, parse_size(max).map_err(|_| refusal())?);
    let choices = max.checked_sub(min).and_then(|range| u64::try_from(range).ok());
    match (name, choices) {
        ("uniform" | "zipf", Some(choices)) if choices >= CHOICES_MAX => {
            Err(format!("{text}: at most {CHOICES_MAX} bytes between the smallest and the largest"))
        }
        ("uniform", Some(_)) => Ok(Sizes::Uniform { min, max }),
        ("zipf", Some(_)) => Ok(Sizes::Zipf { min, max }),
        _ => Err(refusal()),
    }
}

/// Reads `none`, `sequential(n)`, `uniform(n)`, `zipf(n)` or `zipf(n,s)`.
///
/// # Errors
/// Names the text and shows examples.
pub(crate) fn parse_keys(text: &str) -> Result<Keys, String> {
    let refusal = || {
        format!(
            "{text}: one of none, sequential(n), uniform(n), zipf(n) or zipf(n,s) as in \
             zipf(5000,1.1), with 1 to {CHOICES_MAX} keys"
        )
    };
    let count = |text: &str| match text.parse::<u64>() {
        Ok(count) if (1..=CHOICES_MAX).contains(&count) => Ok(count),
        _ => Err(refusal()),
    };
    let (name, values) = parse_call(text).ok_or_else(refusal)?;
    match (name, &values[..]) {
        ("none", []) => Ok(Keys::None),
        ("sequential", [keys]) => count(keys).map(Keys::Sequential),
        ("uniform", [keys]) => count(keys).map(Keys::Uniform),
        ("zipf", [keys]) => Ok(Keys::Zipf { count: count(keys)?, exponent: ZIPF_EXPONENT }),
        ("zipf", [keys, exponent]) => match exponent.parse::<f64>() {
            Ok(exponent) if exponent.is_finite() && exponent > 0.0 => {
                Ok(Keys::Zipf { count: count(keys)?, exponent })
            }
            _ => Err(refusal()),
        },
        _ => Err(refusal()),
    }
}

/// `--compressibility`, 0 to 1, as the percentage of each value that is random.
///
/// # Errors
/// Names the text and shows an example.
pub(crate) fn parse_compressibility(text: &str) -> Result<u8, String> {
    let refusal = || format!("{text}: from 0.0 (random) to 1.0 (zeros), as in 0.65");
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => {
            let random = (0..=100u8).min_by(|left, right| {
                let distance = |percent: &u8| (f64::from(*percent) - 100.0 * (1.0 - share)).abs();
                distance(left).total_cmp(&distance(right))
            });
            random.ok_or_else(refusal)
        }
        _ => Err(refusal()),
    }
}

/// Draws ranks from 0 on, the first most often.
#[derive(Debug)]
struct Zipf {
    /// The share of all draws that each rank and those before it have.
    cumulative: Vec<f64>,
}

impl Zipf {
    fn new(count: u64, exponent: f64) -> Zipf {
        let mut sum = 0.0;
        let weights = (0..count).map(|rank| {
            sum += (to_f64(rank) + 1.0).powf(-exponent);
            sum
        });
        let mut cumulative: Vec<f64> = weights.collect();
        cumulative.iter_mut().for_each(|weight| *weight /= sum);
        Zipf { cumulative }
    }

    fn draw(&self, random: &mut Random) -> u64 {
        let share = random.unit();
        let rank = self.cumulative.partition_point(|cumulative| *cumulative < share);
        let last = self.cumulative.len().saturating_sub(1);
        u64::try_from(rank.min(last)).expect("usize fits in 64 bits")
    }
}

/// Gives out numbers below a count.
#[derive(Debug)]
enum Draw {
    Constant,
    Turn { count: u64, next: u64 },
    Uniform { count: u64 },
    Zipf(Zipf),
}

impl Draw {
    fn next(&mut self, random: &mut Random) -> u64 {
        match self {
            Draw::Constant => 0,
            Draw::Turn { count, next } => {
                let number = *next;
                *next = (number + 1) % *count;
                number
            }
            Draw::Uniform { count } => random.bits() % *count,
            Draw::Zipf(zipf) => zipf.draw(random),
        }
    }
}

/// Draws the sizes of values.
#[derive(Debug)]
pub(crate) struct SizeDraw {
    min: usize,
    draw: Draw,
}

impl SizeDraw {
    /// A draw of `sizes`.
    pub(crate) fn new(sizes: &Sizes) -> SizeDraw {
        let count =
            |min: &usize, max: &usize| u64::try_from(max - min).map_or(u64::MAX, |range| range + 1);
        let (min, draw) = match sizes {
            Sizes::Fixed(size) => (size, Draw::Constant),
            Sizes::Uniform { min, max } => (min, Draw::Uniform { count: count(min, max) }),
            Sizes::Zipf { min, max } => {
                (min, Draw::Zipf(Zipf::new(count(min, max), ZIPF_EXPONENT)))
            }
        };
        SizeDraw { min: *min, draw }
    }

    /// The next record's.
    pub(crate) fn next(&mut self, random: &mut Random) -> usize {
        self.min + usize::try_from(self.draw.next(random)).expect("below CHOICES_MAX")
    }
}

/// Draws keys.
#[derive(Debug)]
pub(crate) struct KeyDraw(Option<Draw>);

impl KeyDraw {
    /// A draw of `keys`.
    pub(crate) fn new(keys: &Keys) -> KeyDraw {
        KeyDraw(match *keys {
            Keys::None => None,
            Keys::Sequential(count) => Some(Draw::Turn { count, next: 0 }),
            Keys::Uniform(count) => Some(Draw::Uniform { count }),
            Keys::Zipf { count, exponent } => Some(Draw::Zipf(Zipf::new(count, exponent))),
        })
    }

    /// The number of the next record's key; `None` when records have no key.
    pub(crate) fn next(&mut self, random: &mut Random) -> Option<u64> {
        self.0.as_mut().map(|draw| draw.next(random))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_distribution_is_refused_with_examples() {
        for text in ["", "uniform(1)", "uniform(5,1)", "zipf(1,2", "even(1,2)", "-1", "zipf(1,2,3)"]
        {
            let refusal = parse_sizes(text).unwrap_err();
            assert!(refusal.contains("uniform(64,512)"), "{text}: {refusal}");
        }
        assert!(parse_sizes("zipf(1,1GiB)").unwrap_err().contains("at most 1000000"));
        for text in ["", "all", "zipf", "zipf(0)", "uniform(1000001)", "zipf(5,-1)", "none(1)"] {
            let refusal = parse_keys(text).unwrap_err();
            assert!(refusal.contains("zipf(5000,1.1)"), "{text}: {refusal}");
        }
        for text in ["", "1.1", "-0.1", "NaN", "half"] {
            assert!(parse_compressibility(text).unwrap_err().contains("0.65"), "{text}");
        }
    }

    #[test]
    fn distributions_are_read() {
        assert_eq!(parse_sizes("1KiB"), Ok(Sizes::Fixed(1024)));
        assert_eq!(parse_sizes("uniform(64, 1KiB)"), Ok(Sizes::Uniform { min: 64, max: 1024 }));
        assert_eq!(parse_keys("zipf(9,1.5)"), Ok(Keys::Zipf { count: 9, exponent: 1.5 }));
        assert_eq!(parse_keys("sequential(3)"), Ok(Keys::Sequential(3)));
        assert_eq!(parse_compressibility("0.65"), Ok(35));
        assert_eq!(parse_compressibility("1"), Ok(0));
    }

    #[test]
    fn sizes_fall_into_their_range_and_follow_their_law() {
        let mut random = Random::new(3);
        let mut uniform = SizeDraw::new(&Sizes::Uniform { min: 10, max: 19 });
        let mut counts = [0u32; 10];
        (0..20_000).for_each(|_| counts[uniform.next(&mut random) - 10] += 1);
        assert!(counts.iter().all(|count| (1_800..2_200).contains(count)), "{counts:?}");
        let mut zipf = SizeDraw::new(&Sizes::Zipf { min: 10, max: 12 });
        let mut counts = [0u32; 3];
        (0..20_000).for_each(|_| counts[zipf.next(&mut random) - 10] += 1);
        // Shares of 1, 1/2 and 1/3.
        for (count, share) in counts.iter().zip([6.0 / 11.0, 3.0 / 11.0, 2.0 / 11.0]) {
            assert!((f64::from(*count) / 20_000.0 - share).abs() < 0.02, "{counts:?}");
        }
    }

    #[test]
    fn keys_come_in_turn_evenly_or_the_first_most_often() {
        let mut random = Random::new(4);
        let mut turn = KeyDraw::new(&Keys::Sequential(3));
        let drawn: Vec<_> = (0..5).filter_map(|_| turn.next(&mut random)).collect();
        assert_eq!(drawn, [0, 1, 2, 0, 1]);
        assert_eq!(KeyDraw::new(&Keys::None).next(&mut random), None);
        let mut zipf = KeyDraw::new(&Keys::Zipf { count: 1000, exponent: 1.2 });
        let drawn: Vec<u64> = (0..50_000).filter_map(|_| zipf.next(&mut random)).collect();
        let share = |key: u64| drawn.iter().filter(|drawn| **drawn == key).count();
        let ratio = share(0) as f64 / share(3) as f64;
        assert!((ratio / 4f64.powf(1.2) - 1.0).abs() < 0.15, "{ratio}");
        assert!(drawn.iter().all(|key| *key < 1000) && drawn.iter().any(|key| *key > 500));
    }
}
