//! Work done by threads of its own and delivered in order, never far ahead of who takes it.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Results of `work(0)`, `work(1)`, ... in order, computed on threads of their own.
///
/// At most `ahead` results wait to be taken, so memory does not grow with the number of items. Dropping it ends the threads.
/// Where the system grants no thread at all, each item is computed when it is taken.
///
/// ```
/// let squares: Vec<usize> = cspnet_data::Ordered::new(4, 2, 8, |i| i * i).collect();
/// assert_eq!(squares, [0, 1, 4, 9]);
/// ```
pub struct Ordered<T> {
    shared: Arc<Shared<T>>,
    workers: Vec<JoinHandle<()>>,
    work: Arc<Work<T>>,
    count: usize,
}

type Work<T> = dyn Fn(usize) -> T + Send + Sync;

struct Shared<T> {
    state: Mutex<State<T>>,
    /// A result is there.
    made: Condvar,
    /// There is room for another.
    room: Condvar,
}

struct State<T> {
    /// The next item nobody has begun.
    next: usize,
    /// The next item to be delivered.
    delivered: usize,
    ready: BTreeMap<usize, std::thread::Result<T>>,
    closed: bool,
}

impl<T: Send + 'static> Ordered<T> {
    /// Begins `count` pieces of work on `threads` threads.
    pub fn new(count: usize, threads: usize, ahead: usize, work: impl Fn(usize) -> T + Send + Sync + 'static) -> Self {
        let state = State { next: 0, delivered: 0, ready: BTreeMap::new(), closed: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), made: Condvar::new(), room: Condvar::new() });
        let (work, ahead): (Arc<Work<T>>, usize) = (Arc::new(work), ahead.max(1));
        let worker = |i| {
            let (shared, work) = (Arc::clone(&shared), Arc::clone(&work));
            let run = move || shared.serve(count, ahead, &*work);
            std::thread::Builder::new().name(format!("load-{i}")).spawn(run).ok()
        };
        let workers = (0..threads.clamp(1, count.max(1))).map_while(worker).collect();
        Self { shared, workers, work, count }
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, count: usize, ahead: usize, work: &dyn Fn(usize) -> T) {
        let mut state = self.lock();
        while state.next < count && !state.closed {
            if state.next >= state.delivered + ahead {
                state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let item = state.next;
            state.next += 1;
            drop(state);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(item)));
            state = self.lock();
            state.ready.insert(item, result);
            self.made.notify_one();
        }
    }
}

impl<T> Iterator for Ordered<T> {
    type Item = T;

    /// # Panics
    /// If the work on this item did.
    fn next(&mut self) -> Option<T> {
        let mut state = self.shared.lock();
        let item = state.delivered;
        if item >= self.count {
            return None;
        }
        if self.workers.is_empty() {
            state.delivered += 1;
            drop(state);
            return Some((self.work)(item));
        }
        loop {
            if let Some(result) = state.ready.remove(&item) {
                state.delivered += 1;
                drop(state);
                self.shared.room.notify_one();
                return Some(result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            state = self.shared.made.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T> Drop for Ordered<T> {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.room.notify_all();
        for worker in self.workers.drain(..) {
            // What a worker's work panicked with was caught and belongs to an item nobody wants any more.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::Duration;

    use super::*;

    #[test]
    fn order_does_not_depend_on_threads_or_on_how_long_items_take() {
        for threads in [0, 1, 2, 5] {
            for ahead in [0, 1, 3, 100] {
                let slow = |i: usize| {
                    std::thread::sleep(Duration::from_micros((i * 7919 % 5) as u64 * 100));
                    i
                };
                let all: Vec<usize> = Ordered::new(40, threads, ahead, slow).collect();
                assert_eq!(all, (0..40).collect::<Vec<_>>());
            }
        }
        assert_eq!(Ordered::new(0, 2, 4, |i| i).count(), 0);
    }

    #[test]
    fn nothing_is_computed_far_ahead_and_dropping_ends_it() {
        let begun = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&begun);
        let mut items = Ordered::new(1000, 3, 8, move |_| counter.fetch_add(1, SeqCst));
        items.next();
        std::thread::sleep(Duration::from_millis(50));
        assert!(begun.load(SeqCst) <= 1 + 8);
        drop(items);
        let after = begun.load(SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(begun.load(SeqCst), after);
    }

    #[test]
    fn a_panic_reaches_who_takes_that_item() {
        let mut items = Ordered::new(4, 2, 4, |i| assert!(i != 2, "item two"));
        items.next();
        items.next();
        let third = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| items.next()));
        assert!(third.is_err());
        assert!(items.next().is_some());
    }
}
