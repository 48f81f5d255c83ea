//! Reads lists of the Admin API page after page.

use std::future::Future;

use crate::cli::failure::Failure;

/// What of a list was read: at most as many as were asked for.
pub(super) struct Listed<T> {
    pub(super) all: Vec<T>,
    /// Where the rest begins; empty where there is none.
    pub(super) rest: String,
}

/// Reads pages until there are `limit` entries or no more. `page` is given the size and the token of a page, and
/// gives entries and the token of the next.
pub(super) async fn read<T, F>(
    limit: usize,
    mut page: impl FnMut(i32, String) -> F,
) -> Result<Listed<T>, Failure>
where
    F: Future<Output = Result<(Vec<T>, String), Failure>>,
{
    let mut listed = Listed { all: Vec::new(), rest: String::new() };
    while listed.all.len() < limit {
        let size = i32::try_from(limit - listed.all.len()).unwrap_or(PAGE).min(PAGE);
        let (entries, next) = page(size, listed.rest).await?;
        let is_empty = entries.is_empty();
        let room = limit - listed.all.len();
        listed.all.extend(entries.into_iter().take(room));
        listed.rest = next;
        if listed.rest.is_empty() {
            break;
        }
        if is_empty {
            return Err(Failure::Refused("the gateway tells of a next page on an empty one".into()));
        }
    }
    Ok(listed)
}

impl<T> Listed<T> {
    /// Says on standard error that there is more.
    pub(super) fn tell_of_rest(&self) {
        use std::io::Write;

        if !self.rest.is_empty() {
            // Nobody may be left to read it.
            let _ = writeln!(std::io::stderr().lock(), "there are more: --limit shows them");
        }
    }
}

/// The most that the Admin API gives at once.
pub(super) const PAGE: i32 = 1000;

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// A server with `total` numbers, which gives at most two of them at once.
    async fn of(total: usize, limit: usize) -> (Vec<usize>, String, Vec<i32>) {
        let asked = RefCell::new(Vec::new());
        let listed = read(limit, |size, token| {
            asked.borrow_mut().push(size);
            async move {
                let from: usize = if token.is_empty() { 0 } else { token.parse().unwrap() };
                let to = (from + 2).min(total).min(from + usize::try_from(size).unwrap());
                Ok(((from..to).collect(), if to < total { to.to_string() } else { String::new() }))
            }
        });
        let listed = listed.await.unwrap();
        (listed.all, listed.rest, asked.into_inner())
    }

    #[tokio::test]
    async fn pages_follow_each_other_up_to_the_limit() {
        assert_eq!(of(0, 5).await, (vec![], String::new(), vec![5]));
        assert_eq!(of(5, 2000).await, (vec![0, 1, 2, 3, 4], String::new(), vec![1000, 1000, 1000]));
        assert_eq!(of(5, 3).await, (vec![0, 1, 2], "3".into(), vec![3, 1]));
    }

    #[tokio::test]
    async fn a_server_that_never_ends_is_left() {
        let endless = read(5, |_, _| async { Ok((Vec::<u8>::new(), "next".into())) }).await;
        assert!(matches!(endless, Err(Failure::Refused(why)) if why.contains("empty")));
        let generous = read(5, |_, _| async { Ok((vec![0_u8; 100], "next".into())) }).await;
        assert_eq!(generous.unwrap_or_else(|_| panic!("it is read")).all.len(), 5);
    }
}
