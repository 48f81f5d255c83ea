//! The known name nearest to a misspelt one, by edit distance.

/// The one of `names` that `wrong` was most likely meant to be, if any is near.
pub fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if NAME_BYTES_MAX < wrong.len() {
        return None;
    }
    let bound = (wrong.chars().count() / 3).clamp(1, 3);
    let near =
        names.into_iter().take(NAMES_MAX).filter(|name| name.len().abs_diff(wrong.len()) <= 2 * bound + 2);
    let folded = wrong.to_lowercase().replace('-', "_");
    near.filter_map(|name| {
        let distance = match name.replace('-', "_") {
            name if name == folded => 0,
            name => distance(&folded, &name),
        };
        (distance <= bound).then_some((distance, name))
    })
    .min_by_key(|(distance, _)| *distance)
    .map(|(_, name)| name)
}

/// Insertions, removals, changes and swaps of neighbours that turn one text into the other.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, a) in from.iter().enumerate() {
        let mut now = vec![row + 1];
        for (column, b) in to.iter().enumerate() {
            let change = last[column] + usize::from(a != b);
            let mut best = change.min(last[column + 1] + 1).min(now[column] + 1);
            if 0 < row && 0 < column && *a == to[column - 1] && from[row - 1] == *b {
                best = best.min(before[column - 1] + 1);
            }
            now.push(best);
        }
        before = std::mem::replace(&mut last, now);
    }
    last[to.len()]
}

/// Longer names get no suggestion: the work grows with the square.
const NAME_BYTES_MAX: usize = 64;
/// A suggestion is a courtesy; no file may buy more work than this with it.
const NAMES_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["address", "limits", "name", "header_timeout"];
        for (wrong, right) in [
            ("adress", Some("address")),
            ("Name", Some("name")),
            ("nmae", Some("name")),
            ("header-timeout", Some("header_timeout")),
            ("limit", Some("limits")),
            ("colour", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(wrong, names), right, "{wrong}");
        }
        assert_eq!(nearest(&"a".repeat(1 << 20), names), None);
    }

    #[test]
    fn distance_counts_edits() {
        for (from, to, edits) in
            [("", "abc", 3), ("abc", "abc", 0), ("acb", "abc", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(from, to), edits, "{from} {to}");
        }
    }
}
