//! The known name nearest to a misspelt one.

/// The one of `names` that `wrong` was most likely meant to be, if any is near. Case, and `-` for `_`, make no
/// difference.
pub fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = (wrong.len() / 3).clamp(1, EDITS_MAX);
    let near = names.into_iter().take(NAMES_MAX).filter_map(|name| Some((edits(wrong, name, most)?, name)));
    near.min_by_key(|(edits, _)| *edits).map(|(_, name)| name)
}

/// Insertions, removals, changes and swaps of neighbours that turn one name into the other: at most `most`, and
/// fewer than either is long.
fn edits(from: &str, to: &str, most: usize) -> Option<usize> {
    let (from, to) = (from.as_bytes(), to.as_bytes());
    let shorter = from.len().min(to.len());
    if most < from.len().abs_diff(to.len()) {
        return None;
    }
    let begin = from.iter().zip(to).take_while(|(a, b)| is_same(**a, **b)).count();
    let (from, to) = (&from[begin..], &to[begin..]);
    let end = from.iter().rev().zip(to.iter().rev()).take_while(|(a, b)| is_same(**a, **b)).count();
    let (from, to) = (&from[..from.len() - end], &to[..to.len() - end]);
    if BYTES_MAX < from.len().max(to.len()) {
        return None;
    }
    let mut before = [0; BYTES_MAX + 1];
    let mut last: [usize; BYTES_MAX + 1] = std::array::from_fn(|at| at);
    for (row, a) in from.iter().enumerate() {
        let mut now = [row + 1; BYTES_MAX + 1];
        for (column, b) in to.iter().enumerate() {
            let change = last[column] + usize::from(!is_same(*a, *b));
            let mut best = change.min(last[column + 1] + 1).min(now[column] + 1);
            let is_swap = 0 < row && 0 < column && is_same(*a, to[column - 1]) && is_same(from[row - 1], *b);
            if is_swap {
                best = best.min(before[column - 1] + 1);
            }
            now[column + 1] = best;
        }
        if now[..=to.len()].iter().all(|edits| most < *edits) {
            return None;
        }
        before = std::mem::replace(&mut last, now);
    }
    Some(last[to.len()]).filter(|edits| *edits <= most && *edits < shorter)
}

fn is_same(a: u8, b: u8) -> bool {
    let folded = |byte: u8| if byte == b'-' { b'_' } else { byte.to_ascii_lowercase() };
    folded(a) == folded(b)
}

/// Farther names are no misspelling.
const EDITS_MAX: usize = 3;
/// What differs, when what is the same at both ends is left out; longer is far, and the work grows with the square.
const BYTES_MAX: usize = 32;
/// A suggestion is a courtesy; nobody may buy more work than this with it.
const NAMES_MAX: usize = 2000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["address", "limits", "Name", "header_timeout", "pets.v1.PetStore.ListPets", "id"];
        for (wrong, right) in [
            ("adress", Some("address")),
            ("name", Some("Name")),
            ("nmae", Some("Name")),
            ("header-timeout", Some("header_timeout")),
            ("headerTimeout", Some("header_timeout")),
            ("limit", Some("limits")),
            ("pets.v1.Petstore.ListPet", Some("pets.v1.PetStore.ListPets")),
            ("ids", Some("id")),
            ("colour", None),
            ("x", None),
            ("no", None),
            ("", None),
        ] {
            assert_eq!(nearest(wrong, names), right, "{wrong}");
        }
        assert_eq!(nearest(&"a".repeat(1 << 20), names), None);
        assert_eq!(nearest("limit", ["limes", "limits"]), Some("limits"));
        assert_eq!(nearest("limit", [""; NAMES_MAX].into_iter().chain(["limits"])), None);
    }

    #[test]
    fn edits_are_counted_in_both_directions() {
        for (from, to, expected) in [
            ("abcd", "abcd", Some(0)),
            ("price", "PRICE", Some(0)),
            ("page_token", "page-token", Some(0)),
            ("acbd", "abcd", Some(1)),
            ("abcd", "bcd", Some(1)),
            ("abcd", "abxcd", Some(1)),
            ("kitten", "sitting", Some(3)),
            ("abcdefg", "gfedcba", None),
            ("a", "b", None),
            ("", "abc", None),
        ] {
            assert_eq!(edits(from, to, 3), expected, "{from} {to}");
            assert_eq!(edits(to, from, 3), expected, "{to} {from}");
        }
        assert_eq!(edits("kitten", "sitting", 2), None);
        let [a, b] = ["a", "b"].map(|last| format!("{}{last}", "x".repeat(1000)));
        assert_eq!(edits(&a, &b, 1), Some(1));
        assert_eq!(edits(&format!("y{a}y"), &format!("z{a}z"), 3), None);
    }
}
