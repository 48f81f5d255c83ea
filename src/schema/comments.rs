//! Keeps the comments of a file, by the path of what they describe.

use prost_types::SourceCodeInfo;

/// The comments of one file.
#[derive(Debug, Clone, Default)]
pub(super) struct Comments {
    /// Sorted by path.
    by_path: Vec<(Box<[i32]>, Box<str>)>,
}

impl Comments {
    /// Takes each comment before a declaration, or else the one behind it. The first location of a path
    /// counts.
    pub(super) fn of(info: &SourceCodeInfo) -> Self {
        let mut by_path: Vec<(Box<[i32]>, Box<str>)> = Vec::new();
        for location in &info.location {
            let comment = [location.leading_comments(), location.trailing_comments()];
            if let Some(comment) = comment.into_iter().find(|comment| !comment.trim().is_empty()) {
                by_path.push((location.path.as_slice().into(), comment.into()));
            }
        }
        by_path.sort_by(|a, b| a.0.cmp(&b.0));
        by_path.dedup_by(|b, a| a.0 == b.0);
        Self { by_path }
    }

    pub(super) fn at(&self, path: &[i32]) -> Option<&str> {
        let at = self.by_path.binary_search_by(|(known, _)| (**known).cmp(path)).ok()?;
        Some(&self.by_path[at].1)
    }
}

/// Source info without the places that carry no comment: most of its bytes, and of no use once compiled.
pub(super) fn keep_comments(mut info: SourceCodeInfo) -> SourceCodeInfo {
    info.location.retain(|location| {
        location.leading_comments.is_some()
            || location.trailing_comments.is_some()
            || !location.leading_detached_comments.is_empty()
    });
    info
}

#[cfg(test)]
mod tests {
    use prost_types::source_code_info::Location;

    use super::*;

    #[test]
    fn a_comment_is_found_by_its_path() {
        let location = |path: &[i32], leading: Option<&str>, trailing: Option<&str>| Location {
            path: path.to_vec(),
            leading_comments: leading.map(str::to_owned),
            trailing_comments: trailing.map(str::to_owned),
            ..Location::default()
        };
        let info = SourceCodeInfo {
            location: vec![
                location(&[6, 0], Some(" A store.\n"), None),
                location(&[4, 0], None, Some(" behind\n")),
                location(&[4, 1], None, None),
                location(&[6, 0], Some(" again\n"), None),
            ],
        };
        let info = keep_comments(info);
        assert_eq!(info.location.len(), 3);
        let comments = Comments::of(&info);
        assert_eq!(comments.at(&[6, 0]), Some(" A store.\n"));
        assert_eq!(comments.at(&[4, 0]), Some(" behind\n"));
        assert_eq!(comments.at(&[4, 1]), None);
    }
}
