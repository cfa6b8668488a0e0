//! Lists, a page at a time, by the ids of their rows.

use uuid::Uuid;

/// Most rows of one page.
pub const LARGEST_PAGE: u32 = 200;

/// Which page: rows below an id, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// [`Page::next`] of the page before.
    pub before: Option<Uuid>,
    /// Rows wanted, 1 to [`LARGEST_PAGE`].
    pub limit: u32,
}

impl PageRequest {
    /// How many rows to fetch: one more than wanted, to see whether there is another page.
    pub(crate) fn fetch_limit(self) -> i64 {
        i64::from(self.limit.clamp(1, LARGEST_PAGE)) + 1
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// Its rows.
    pub items: Vec<T>,
    /// Where the next page begins; none on the last one.
    pub next: Option<Uuid>,
}

impl<T> Page<T> {
    /// Cuts what was fetched with [`PageRequest::fetch_limit`].
    pub(crate) fn cut(mut items: Vec<T>, request: PageRequest, id: impl Fn(&T) -> Uuid) -> Self {
        let wanted = request.limit.clamp(1, LARGEST_PAGE) as usize;
        let more = items.len() > wanted;
        items.truncate(wanted);
        let next = items.last().filter(|_| more).map(id);
        Self { items, next }
    }

    /// Turns each row into something else.
    pub fn map<U>(self, turn: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(turn).collect(), next: self.next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_its_successor_only_if_there_is_one() {
        let ids: Vec<Uuid> = (1..=3).map(Uuid::from_u128).collect();
        let request = PageRequest { before: None, limit: 2 };
        assert_eq!(request.fetch_limit(), 3);
        let page = Page::cut(ids.clone(), request, |id| *id);
        assert_eq!((page.items.len(), page.next), (2, Some(Uuid::from_u128(2))));
        let last = Page::cut(ids[..2].to_vec(), request, |id| *id);
        assert_eq!(last.next, None);
    }
}
