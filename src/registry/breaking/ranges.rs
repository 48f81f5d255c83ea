//! Rules about ranges of numbers, which a message or an enum reserves or gives to extensions.

/// What is left out of a range, both ends included: `4 to 6, 9`.
pub(super) fn missing(range: (i64, i64), of: &[(i64, i64)]) -> Option<String> {
    let mut left_out = Vec::new();
    let (mut start, end) = range;
    let first = of.partition_point(|(_, last)| *last < start);
    // Between two ranges there is a gap, so that this ends after so many of them.
    for (from, to) in &of[first..] {
        if end < *from || SHOWN_MAX < left_out.len() {
            break;
        }
        if start < *from {
            left_out.push((start, *from - 1));
        }
        start = *to + 1;
    }
    if start <= end {
        left_out.push((start, end));
    }
    let rest = if SHOWN_MAX < left_out.len() { " and more" } else { "" };
    let shown: Vec<String> = left_out.iter().take(SHOWN_MAX).copied().map(show).collect();
    (!shown.is_empty()).then(|| format!("{}{rest}", shown.join(", ")))
}

/// Ranges in order, those that touch made one.
pub(super) fn merged(ranges: impl Iterator<Item = (i64, i64)>) -> Vec<(i64, i64)> {
    let mut sorted: Vec<(i64, i64)> = ranges.collect();
    sorted.sort_unstable();
    let mut merged: Vec<(i64, i64)> = Vec::with_capacity(sorted.len());
    for (start, end) in sorted {
        match merged.last_mut() {
            Some((_, last)) if start <= last.saturating_add(1) => *last = end.max(*last),
            _ => merged.push((start, end)),
        }
    }
    merged
}

/// Whether one of these ranges, which [`merged`] made, has the number.
pub(super) fn contains(merged: &[(i64, i64)], number: i64) -> bool {
    let at = merged.partition_point(|(_, end)| *end < number);
    merged.get(at).is_some_and(|(start, _)| *start <= number)
}

pub(super) fn show((start, end): (i64, i64)) -> String {
    if start == end { start.to_string() } else { format!("{start} to {end}") }
}

/// Ranges that a message names.
const SHOWN_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_range_lacks_is_found() {
        let of = merged([(7, 9), (1, 2), (3, 3), (20, 30), (8, 10)].into_iter());
        assert_eq!(of, [(1, 3), (7, 10), (20, 30)]);
        for (range, want) in [
            ((1, 3), None),
            ((2, 2), None),
            ((8, 10), None),
            ((4, 6), Some("4 to 6")),
            ((4, 4), Some("4")),
            ((0, 4), Some("0, 4")),
            ((3, 7), Some("4 to 6")),
            ((5, 25), Some("5 to 6, 11 to 19")),
            ((25, 40), Some("31 to 40")),
            ((31, 31), Some("31")),
            ((-5, 100), Some("-5 to 0, 4 to 6, 11 to 19, 31 to 100")),
        ] {
            assert_eq!(missing(range, &of).as_deref(), want, "{range:?}");
        }
        assert_eq!(missing((1, 2), &[]).as_deref(), Some("1 to 2"));
        let holes = merged((0..1_000).map(|at| (at * 2, at * 2)));
        assert_eq!(missing((0, 5_000), &holes).as_deref(), Some("1, 3, 5, 7, 9 and more"));
        assert!(contains(&of, 1) && contains(&of, 10) && contains(&of, 20));
        assert!(!contains(&of, 0) && !contains(&of, 4) && !contains(&of, 31));
    }
}
