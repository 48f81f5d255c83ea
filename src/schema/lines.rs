//! Keeps the lines of a file's declarations, by the path of what stands there.

use std::borrow::Cow;

use prost_types::SourceCodeInfo;

/// The lines of one file, as few bytes as they take: every path behind the one before it, sorted, and none
/// that stands on the line of what surrounds it.
#[derive(Debug, Clone, Default)]
pub(super) struct Lines {
    paths: Box<[i32]>,
    places: Box<[Place]>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    /// Where its path ends in `paths`; it starts where the one before ends.
    end: u32,
    /// Counted from 1.
    line: u32,
}

impl Lines {
    /// Takes the first location of each path. That of the whole file is left out. `option_at` knows the numbers of
    /// options that are not interpreted yet, by the paths that these have.
    pub(super) fn of(info: &SourceCodeInfo, option_at: impl Fn(&[i32]) -> Option<i32>) -> Self {
        let mut all: Vec<(Cow<'_, [i32]>, u32)> = Vec::with_capacity(info.location.len());
        for location in &info.location {
            let line = location.span.first().and_then(|line| u32::try_from(*line).ok());
            if let (Some(line), false) = (line, location.path.is_empty()) {
                let path = match (&location.path[..], option_at(&location.path)) {
                    ([options @ .., _, _], Some(number)) => [options, &[number]].concat().into(),
                    (path, _) => path.into(),
                };
                all.push((path, line.saturating_add(1)));
            }
        }
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all.dedup_by(|(b, _), (a, _)| a == b);
        let (mut paths, mut places) = (Vec::new(), Vec::new());
        // What surrounds a path comes before it, and nothing that it doesn't surround stands between.
        let mut around: Vec<(&[i32], u32)> = Vec::new();
        for (path, line) in &all {
            while around.last().is_some_and(|(outer, _)| !path.starts_with(outer)) {
                around.pop();
            }
            if around.last().is_none_or(|(_, outer)| outer != line) {
                paths.extend_from_slice(path);
                let Ok(end) = u32::try_from(paths.len()) else { break };
                places.push(Place { end, line: *line });
            }
            around.push((path, *line));
        }
        Self { paths: paths.into(), places: places.into() }
    }

    /// The line of what a path points at, or of what surrounds it.
    pub(super) fn at(&self, path: &[i32]) -> Option<u32> {
        (1..=path.len()).rev().find_map(|length| self.exactly(&path[..length]))
    }

    fn exactly(&self, path: &[i32]) -> Option<u32> {
        let (mut low, mut high) = (0, self.places.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.path(middle).cmp(path) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Some(self.places[middle].line),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn path(&self, at: usize) -> &[i32] {
        let start = at.checked_sub(1).map_or(0, |before| self.places[before].end);
        &self.paths[start as usize..self.places[at].end as usize]
    }
}

#[cfg(test)]
mod tests {
    use prost_types::source_code_info::Location;

    use super::*;

    #[test]
    fn a_line_is_that_of_the_nearest_declaration() {
        let location = |path: &[i32], line: i32| Location {
            path: path.to_vec(),
            span: vec![line, 0, 1],
            ..Location::default()
        };
        let info = SourceCodeInfo {
            location: vec![
                location(&[], 0),
                location(&[12], 0),
                location(&[4, 1], 9),
                location(&[4, 0], 2),
                location(&[4, 0, 2, 0], 3),
                location(&[4, 0, 2, 0, 1], 3),
                location(&[4, 0, 2, 0, 3], 5),
                location(&[4, 0, 2, 1], 2),
                location(&[4, 10], 20),
                location(&[4, 0], 30),
                location(&[7], -1),
                location(&[8], 40),
                location(&[8, 999, 3], 41),
                location(&[8, 999, 4], 42),
            ],
        };
        let lines = Lines::of(&info, |path| (path == [8, 999, 3]).then_some(11));
        assert_eq!(lines.places.len(), 9, "{lines:?}");
        for (path, line) in [
            (&[4, 0][..], Some(3)),
            (&[4, 0, 1], Some(3)),
            (&[4, 0, 2, 0], Some(4)),
            (&[4, 0, 2, 0, 1], Some(4)),
            (&[4, 0, 2, 0, 3], Some(6)),
            (&[4, 0, 2, 1, 5], Some(3)),
            (&[4, 1, 7], Some(10)),
            (&[4, 10], Some(21)),
            (&[12], Some(1)),
            (&[4, 2], None),
            (&[7], None),
            (&[8, 11], Some(42)),
            (&[8, 10], Some(41)),
            (&[], None),
        ] {
            assert_eq!(lines.at(path), line, "{path:?}");
        }
        assert_eq!(Lines::default().at(&[4, 0]), None);
    }
}
