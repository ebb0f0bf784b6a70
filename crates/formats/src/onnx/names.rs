//! Names of which each stands for one thing.

use std::collections::HashMap;

/// The names that are taken, and the number that was last tried behind each.
#[derive(Debug, Default)]
pub(super) struct Names {
    taken: HashMap<String, u32>,
}

impl Names {
    /// A name that nobody has: the one asked for, or that with a number. It is never empty.
    pub(super) fn claim(&mut self, wanted: &str) -> String {
        let mut number = self.taken.get(wanted).copied().unwrap_or(0);
        let free = loop {
            number += 1;
            let name = if number == 1 { wanted.to_owned() } else { format!("{wanted}#{number}") };
            if !name.is_empty() && !self.taken.contains_key(&name) {
                break name;
            }
        };
        self.taken.insert(free.clone(), 1);
        self.taken.insert(wanted.to_owned(), number);
        free
    }
}
