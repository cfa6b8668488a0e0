//! What is believed for a few seconds without asking the database again.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use moka::sync::Cache;

/// Answers that are dropped after a few seconds, or at once when told so.
pub(crate) struct ShortCache<K, V> {
    entries: Cache<K, Arc<V>>,
    /// Counts the times everything was dropped: an answer that was fetched before must not be
    /// stored after.
    generation: AtomicU64,
    /// Whether nobody would tell what is no longer so: nothing is stored then.
    deaf: AtomicBool,
}

impl<K: Hash + Eq + Send + Sync + 'static, V: Send + Sync + 'static> ShortCache<K, V> {
    pub(crate) fn new(capacity: u64, lifetime: Duration) -> Self {
        Self {
            entries: Cache::builder().max_capacity(capacity).time_to_live(lifetime).build(),
            generation: AtomicU64::new(0),
            deaf: AtomicBool::new(false),
        }
    }

    pub(crate) fn get(&self, key: &K) -> Option<Arc<V>> {
        self.entries.get(key)
    }

    /// To be asked before the answer is fetched, and handed to [`Self::insert`].
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Stores an answer unless everything has been dropped since `generation`.
    pub(crate) fn insert(&self, generation: u64, key: &K, value: Arc<V>)
    where
        K: Clone,
    {
        if self.generation() == generation && !self.deaf.load(Ordering::SeqCst) {
            self.entries.insert(key.clone(), value);
        }
        // A drop may have come between the question and the insert.
        if self.generation() != generation {
            self.entries.invalidate(key);
        }
    }

    /// Drops everything, and stores nothing from now on while `deaf`.
    pub(crate) fn set_deaf(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::SeqCst);
        self.clear();
    }

    pub(crate) fn clear(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.entries.invalidate_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_fetched_before_a_drop_is_never_stored_after_it() {
        let cache: ShortCache<u8, &str> = ShortCache::new(10, Duration::from_mins(1));
        let before = cache.generation();
        cache.clear();
        cache.insert(before, &1, Arc::new("old"));
        assert!(cache.get(&1).is_none());
        cache.insert(cache.generation(), &1, Arc::new("new"));
        assert_eq!(cache.get(&1).as_deref(), Some(&"new"));
        cache.clear();
        assert!(cache.get(&1).is_none());
    }

    #[test]
    fn nothing_is_believed_while_no_notice_can_be_heard() {
        let cache: ShortCache<u8, &str> = ShortCache::new(10, Duration::from_mins(1));
        let store = |value| cache.insert(cache.generation(), &1, Arc::new(value));
        store("before");
        cache.set_deaf(true);
        assert!(cache.get(&1).is_none());
        store("meanwhile");
        assert!(cache.get(&1).is_none());
        cache.set_deaf(false);
        store("after");
        assert_eq!(cache.get(&1).as_deref(), Some(&"after"));
    }
}
