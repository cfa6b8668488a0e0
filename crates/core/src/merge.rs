//! A merge join of two sorted sequences that arrive in batches: constant memory, whatever their length.

use std::collections::VecDeque;

use uuid::Uuid;

/// One of the two sequences.
pub(crate) struct Side<T> {
    key: fn(&T) -> Uuid,
    waiting: VecDeque<T>,
    last: Option<Uuid>,
    ended: bool,
}

/// What both sides have under one key; at least one has something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair<L, R> {
    pub(crate) left: Option<L>,
    pub(crate) right: Option<R>,
    key: Uuid,
}

impl<L, R> Pair<L, R> {
    pub(crate) const fn key(&self) -> Uuid {
        self.key
    }

    pub(crate) const fn new(key: Uuid, left: Option<L>, right: Option<R>) -> Self {
        Self { left, right, key }
    }
}

impl<T> Side<T> {
    pub(crate) const fn new(key: fn(&T) -> Uuid) -> Self {
        Self { key, waiting: VecDeque::new(), last: None, ended: false }
    }

    /// Whether nothing waits and more may come.
    pub(crate) fn needs_more(&self) -> bool {
        self.waiting.is_empty() && !self.ended
    }

    pub(crate) fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.ended
    }

    /// The last key that came.
    pub(crate) const fn last(&self) -> Option<Uuid> {
        self.last
    }

    /// The next batch of a query; fewer rows than asked for are the last ones.
    pub(crate) fn push(&mut self, batch: Vec<T>, asked: i64) {
        self.ended = usize::try_from(asked).is_ok_and(|asked| batch.len() < asked);
        self.push_some(batch);
    }

    /// The next batch of a stream.
    pub(crate) fn push_some(&mut self, batch: Vec<T>) {
        self.last = batch.last().map(self.key).or(self.last);
        self.waiting.extend(batch);
    }

    /// The stream has ended.
    pub(crate) const fn end(&mut self) {
        self.ended = true;
    }

    fn head(&self) -> Option<Uuid> {
        self.waiting.front().map(self.key)
    }
}

/// Pairs as far as both sides are known: a side that may still get more holds the other one back.
pub(crate) fn pair_up<L, R>(left: &mut Side<L>, right: &mut Side<R>) -> Vec<Pair<L, R>> {
    let mut pairs = Vec::new();
    while !left.needs_more() && !right.needs_more() {
        let Some(key) = left.head().into_iter().chain(right.head()).min() else {
            break;
        };
        let from_left = if left.head() == Some(key) { left.waiting.pop_front() } else { None };
        let from_right = if right.head() == Some(key) { right.waiting.pop_front() } else { None };
        pairs.push(Pair::new(key, from_left, from_right));
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    type Shape = (Option<u128>, Option<u128>);

    /// Joins two sequences that arrive in batches of the given sizes.
    fn join(left: &[u128], right: &[u128], left_batch: usize, right_batch: usize) -> Vec<Shape> {
        let id = |n: &u128| Uuid::from_u128(*n);
        let mut lefts = left.chunks(left_batch);
        let mut rights = right.chunks(right_batch);
        let (mut a, mut b) = (Side::new(id), Side::new(id));
        let mut shapes = Vec::new();
        while !(a.is_done() && b.is_done()) {
            if a.needs_more() {
                let batch = lefts.next().unwrap_or_default().to_vec();
                a.push(batch, i64::try_from(left_batch).unwrap());
            }
            if b.needs_more() {
                match rights.next() {
                    Some(batch) => b.push_some(batch.to_vec()),
                    None => b.end(),
                }
            }
            shapes.extend(pair_up(&mut a, &mut b).into_iter().map(|pair| (pair.left, pair.right)));
        }
        shapes
    }

    #[test]
    fn every_key_comes_once_whatever_the_batches() {
        let (left, right) = ([1, 2, 4, 7, 8], [2, 3, 4, 9, 10, 11]);
        let expected = [
            (Some(1), None),
            (Some(2), Some(2)),
            (None, Some(3)),
            (Some(4), Some(4)),
            (Some(7), None),
            (Some(8), None),
            (None, Some(9)),
            (None, Some(10)),
            (None, Some(11)),
        ];
        for left_batch in 1..=6 {
            for right_batch in 1..=7 {
                assert_eq!(join(&left, &right, left_batch, right_batch), expected);
            }
        }
    }

    #[test]
    fn an_empty_side_leaves_the_other_alone() {
        assert_eq!(join(&[], &[], 2, 2), []);
        assert_eq!(join(&[1], &[], 2, 2), [(Some(1), None)]);
        assert_eq!(join(&[], &[1], 2, 2), [(None, Some(1))]);
    }
}
