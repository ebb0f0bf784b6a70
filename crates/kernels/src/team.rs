//! A team of threads that runs the parts of one piece of work and waits for all of them.
//!
//! The caller is its first member, so a team of one starts no thread. Members that wait spin for a moment, since the next
//! layer's work usually follows within microseconds, and then park. Not here: how work is cut into parts; that is each
//! kernel's own business and depends on the layer's shape alone.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Rounds of waiting before a member parks: some tens of microseconds.
const SPINS: u32 = 4000;

/// What a member does: called with the part's number and the member's own (0 is the caller).
type Work<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// The work of one run, as the members see it. The lifetime of the closure is erased: see [`Team::run`].
#[derive(Clone, Copy)]
struct Job {
    work: *const Work<'static>,
    parts: usize,
}

// SAFETY: the closure behind the pointer is `Sync`, and `Team::run` keeps it alive until every member is done with it.
unsafe impl Send for Job {}

struct State {
    job: Mutex<(usize, Option<Job>, bool)>,
    posted: Condvar,
    /// Number of the newest job; counts up, so that a spinning member sees a new one without the lock.
    newest: AtomicUsize,
    next_part: AtomicUsize,
    /// Members that have taken the job and are not done with it; only they are waited for.
    busy: AtomicUsize,
    panicked: AtomicBool,
}

/// Threads that share the parts of a kernel's work.
pub struct Team {
    state: Arc<State>,
    members: Vec<JoinHandle<()>>,
}

impl Team {
    /// A team of `threads` members, the caller included; 0 counts as 1.
    pub fn new(threads: usize) -> Self {
        let state = Arc::new(State {
            job: Mutex::new((0, None, false)),
            posted: Condvar::new(),
            newest: AtomicUsize::new(0),
            next_part: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
        });
        let member = |worker| {
            let state = Arc::clone(&state);
            std::thread::Builder::new().name(format!("cspnet-{worker}")).spawn(move || state.serve(worker)).ok()
        };
        // A machine that refuses another thread still gets its answer, from the members there are.
        let members = (1..threads.max(1)).map_while(member).collect();
        Self { state, members }
    }

    /// Members, the caller included.
    pub fn threads(&self) -> usize {
        self.members.len() + 1
    }

    /// Calls `work(part, worker)` once for every part in `0..parts` and returns when all calls have. Members take parts as
    /// they become free, so the result must not depend on which member runs a part.
    ///
    /// # Panics
    /// If a call panics, after all members have stopped.
    pub fn run(&mut self, parts: usize, work: &Work<'_>) {
        if self.members.is_empty() || parts <= 1 {
            (0..parts).for_each(|part| work(part, 0));
            return;
        }
        // SAFETY: only the lifetime changes. Members take the pointer while it is posted and count themselves into `busy`
        // as they do; once it is withdrawn, and `busy` is zero, nobody has it. This function waits for that before it
        // returns, also when `work` panics.
        let work: *const Work<'static> = unsafe { std::mem::transmute(std::ptr::from_ref(work)) };
        let job = Job { work, parts };
        let state = &*self.state;
        state.next_part.store(0, Ordering::Relaxed);
        state.post(job);
        state.take_parts(job, 0);
        // A member that has not come by now finds nothing: on a busy machine it may be long in coming.
        state.lock().1 = None;
        wait(|| state.busy.load(Ordering::Acquire) == 0);
        if state.panicked.swap(false, Ordering::Relaxed) {
            resume_unwind(Box::new("a part of a kernel's work panicked"));
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.state.lock().2 = true;
        self.state.newest.fetch_add(1, Ordering::Release);
        self.state.posted.notify_all();
        for member in self.members.drain(..) {
            // A member catches its panics, so joining cannot fail.
            let _ = member.join();
        }
    }
}

impl std::fmt::Debug for Team {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Team({} threads)", self.threads())
    }
}

impl State {
    fn lock(&self) -> std::sync::MutexGuard<'_, (usize, Option<Job>, bool)> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn post(&self, job: Job) {
        let mut posted = self.lock();
        posted.0 += 1;
        posted.1 = Some(job);
        self.newest.fetch_add(1, Ordering::Release);
        drop(posted);
        self.posted.notify_all();
    }

    /// A member's life: wait for the next job, take parts of it, report.
    fn serve(&self, worker: usize) {
        let mut done = 0;
        loop {
            for _ in 0..SPINS {
                if self.newest.load(Ordering::Acquire) != done {
                    break;
                }
                std::hint::spin_loop();
            }
            let mut posted = self.lock();
            while posted.0 == done && !posted.2 {
                posted = self.posted.wait(posted).unwrap_or_else(PoisonError::into_inner);
            }
            if posted.2 {
                return;
            }
            done = posted.0;
            let Some(job) = posted.1 else { continue };
            self.busy.fetch_add(1, Ordering::Relaxed);
            drop(posted);
            self.take_parts(job, worker);
            self.busy.fetch_sub(1, Ordering::Release);
        }
    }

    /// Runs parts until none is left.
    fn take_parts(&self, job: Job, worker: usize) {
        let all = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let part = self.next_part.fetch_add(1, Ordering::Relaxed);
                if part >= job.parts {
                    break;
                }
                // SAFETY: `Team::run` keeps the closure alive until this member has counted itself out of `busy`, or is
                // that very call.
                unsafe { (*job.work)(part, worker) }
            }
        }));
        if all.is_err() {
            self.next_part.store(job.parts, Ordering::Relaxed);
            self.panicked.store(true, Ordering::Relaxed);
        }
    }
}

/// Spins until `done`, and after a while gives the core to others: they may be the ones waited for.
fn wait(done: impl Fn() -> bool) {
    for round in 0_u32.. {
        if done() {
            return;
        }
        if round < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_runs_once() {
        for threads in [0, 1, 2, 3, 5] {
            let mut team = Team::new(threads);
            for parts in [0, 1, 2, 7, 100] {
                let counts: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
                let limit = team.threads();
                team.run(parts, &|part, worker| {
                    assert!(worker < limit);
                    counts[part].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn a_member_that_never_comes_is_not_waited_for() {
        let mut team = Team::new(1);
        team.members.push(std::thread::spawn(|| ()));
        let sum = AtomicUsize::new(0);
        team.run(4, &|part, _| {
            sum.fetch_add(part, Ordering::Relaxed);
        });
        assert_eq!(sum.load(Ordering::Relaxed), 6);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_lives_on() {
        let mut team = Team::new(3);
        let broken = catch_unwind(AssertUnwindSafe(|| {
            team.run(8, &|part, _| assert!(part != 5, "part 5"));
        }));
        assert!(broken.is_err());
        let sum = AtomicUsize::new(0);
        team.run(4, &|part, _| {
            sum.fetch_add(part, Ordering::Relaxed);
        });
        assert_eq!(sum.load(Ordering::Relaxed), 6);
    }
}
