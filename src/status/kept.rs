//! An answer that is dear to find, kept for a while.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// An answer is kept for so many times as long as it took: whoever asks all the time occupies a
/// twentieth of a thread, and what is quickly found is always fresh.
const KEPT_FOR: u32 = 20;

/// The last answer.
#[derive(Debug)]
pub struct Kept<T>(Mutex<Option<(Arc<T>, Instant)>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Kept<T> {
    /// The answer of a moment ago or, if that is too old, a new one.
    pub fn get(&self, find: impl FnOnce() -> T) -> Arc<T> {
        // Held over the search, so that all who ask meanwhile get the same one.
        let mut last = self.0.lock();
        let begin = Instant::now();
        if let Some((answer, _)) = last.as_ref().filter(|(_, end)| begin < *end) {
            return Arc::clone(answer);
        }
        let answer = Arc::new(find());
        let took = begin.elapsed();
        let kept = if took < Duration::from_millis(1) { Duration::ZERO } else { took * KEPT_FOR };
        *last = Some((Arc::clone(&answer), Instant::now() + kept));
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dear_is_kept() {
        let kept = Kept::default();
        let slow = || std::thread::sleep(Duration::from_millis(200));
        let find = |n| {
            slow();
            n
        };
        assert_eq!((*kept.get(|| find(1)), *kept.get(|| 2)), (1, 1));
    }
}
