//! How far something is that takes long: one line on a terminal that is written over and goes away. Nothing in files and pipes.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Time between two lines; more often, nobody can read them.
const PAUSE: Duration = Duration::from_millis(100);

/// A line on standard error, as long as it is not dropped.
pub struct Progress {
    what: &'static str,
    /// When the next line may come; never, where there is no terminal.
    next: Option<Instant>,
    begun: bool,
}

impl Progress {
    /// Of doing `what`.
    pub fn new(what: &'static str) -> Self {
        Self { what, next: io::stderr().is_terminal().then(|| Instant::now() + PAUSE), begun: false }
    }

    /// Tells that `done` of `all` is done.
    pub fn tell(&mut self, done: usize, all: usize) {
        let now = Instant::now();
        if self.next.is_some_and(|next| now >= next) {
            self.next = Some(now + PAUSE);
            self.begun = true;
            // A terminal that cannot be written to is no reason to stop.
            let _ = write!(io::stderr(), "\r{}: {done} of {all}", self.what);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.begun {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
