//! The known method nearest to a misspelt selector.

/// The one of `names` that `wrong` was most likely meant to be: the nearest by spelling, or else one whose last
/// part is the same.
pub(super) fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let wanted = last(wrong);
    let ranked = names.into_iter().take(NAMES_MAX).filter_map(|name| {
        let rank = distance(wrong, name).or_else(|| (last(name) == wanted).then_some(EDITS_MAX + 1))?;
        Some((rank, name))
    });
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, name)| name)
}

/// Insertions, removals and changes that turn one text into the other, if they are few.
fn distance(from: &str, to: &str) -> Option<usize> {
    let same_start = from.bytes().zip(to.bytes()).take_while(|(a, b)| a == b).count();
    let (from, to) = (&from.as_bytes()[same_start..], &to.as_bytes()[same_start..]);
    let same_end = from.iter().rev().zip(to.iter().rev()).take_while(|(a, b)| a == b).count();
    let (from, to) = (&from[..from.len() - same_end], &to[..to.len() - same_end]);
    if REST_BYTES_MAX < from.len().max(to.len()) {
        return None;
    }
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, a) in from.iter().enumerate() {
        let mut now = vec![row + 1];
        for (column, b) in to.iter().enumerate() {
            let change = last[column] + usize::from(a != b);
            now.push(change.min(last[column + 1] + 1).min(now[column] + 1));
        }
        last = now;
    }
    Some(last[to.len()]).filter(|edits| *edits <= EDITS_MAX)
}

/// Farther names are no misspelling.
const EDITS_MAX: usize = 4;
/// What differs, when what is the same at both ends is left out; longer is far.
const REST_BYTES_MAX: usize = 24;
/// A suggestion is a courtesy; no file may buy more work than this with it.
const NAMES_MAX: usize = 5_000;

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["pets.v1.PetStore.GetPet", "pets.v1.PetStore.ListPets", "shop.Orders.Cancel"];
        for (wrong, right) in [
            ("pets.v1.PetStore.GetPte", Some(names[0])),
            ("pets.v1.Petstore.ListPet", Some(names[1])),
            ("pets.v2.Whatever.ListPets", Some(names[1])),
            ("cancel", Some(names[2])),
            ("x.Y.Z", None),
            ("", None),
        ] {
            assert_eq!(nearest(wrong, names), right, "{wrong}");
        }
        assert_eq!(nearest(&"a".repeat(1 << 20), names), None);
    }
}
