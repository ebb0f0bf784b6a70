//! What reading a network may take of memory and time, whatever its file says.
//!
//! All that is kept of a file or computed of it is charged before it is made: nodes and names, numbers, the steps that they become.
//! So the sum is bounded, and not each part alone. Not here: how many of one thing there may be.

use std::cell::Cell;

/// Memory beside the file's tensors, in bytes. SECURITY.md promises 64 MB: what is between is for what is not charged, such as the
/// old place of a list while it grows.
pub(super) const MAX_MEMORY: usize = 48 << 20;

/// Work with constants, in numbers.
const MAX_WORK: usize = 1 << 24;

/// What is left.
#[derive(Debug)]
pub(super) struct Allowance {
    memory: Cell<usize>,
    work: Cell<usize>,
}

/// Memory that is given back in the end.
#[derive(Debug)]
pub(super) struct Loan<'a> {
    of: &'a Allowance,
    bytes: usize,
}

impl Allowance {
    pub(super) fn new() -> Self {
        Self { memory: Cell::new(MAX_MEMORY), work: Cell::new(MAX_WORK) }
    }

    /// Takes the work on so many numbers.
    pub(super) fn work(&self, count: usize) -> Result<(), String> {
        let left = self.work.get().checked_sub(count);
        self.work.set(left.ok_or_else(|| format!("would compute with more than {MAX_WORK} constant numbers"))?);
        Ok(())
    }

    /// Takes memory for as long as the network is read.
    pub(super) fn take(&self, bytes: usize) -> Result<(), String> {
        let left = self.memory.get().checked_sub(bytes);
        let limit = MAX_MEMORY >> 20;
        self.memory.set(left.ok_or_else(|| format!("would take more than {limit} MB of memory beside the tensors"))?);
        Ok(())
    }

    /// An account of what is given back together.
    pub(super) fn account(&self) -> Loan<'_> {
        Loan { of: self, bytes: 0 }
    }

    /// Takes memory for so many things of one type until the loan ends.
    pub(super) fn lend<T>(&self, count: usize) -> Result<Loan<'_>, String> {
        let mut loan = self.account();
        loan.grow(count.saturating_mul(size_of::<T>()))?;
        Ok(loan)
    }
}

impl Loan<'_> {
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), String> {
        self.of.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Ends it for all but so many bytes, which are not given back.
    pub(super) fn keep(mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        self.of.memory.set(self.of.memory.get() + self.bytes);
    }
}

/// Bytes of a table of so many entries of a type, which is filled to seven eighths at most.
pub(super) fn table<T>(count: usize) -> usize {
    (count + count / 7 + 1).next_power_of_two().max(4).saturating_mul(size_of::<T>() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lent_comes_back_and_what_is_kept_does_not() {
        let allowance = Allowance::new();
        let loan = allowance.lend::<u64>(MAX_MEMORY / 8).unwrap();
        assert!(allowance.take(1).unwrap_err().contains("more than 48 MB"));
        loan.keep(16);
        assert!(allowance.lend::<u8>(MAX_MEMORY - 15).is_err());
        let mut account = allowance.account();
        account.grow(MAX_MEMORY - 16).unwrap();
        assert!(account.grow(1).is_err() && allowance.lend::<u64>(usize::MAX).is_err());
        drop(account);
        allowance.take(MAX_MEMORY - 16).unwrap();
    }

    #[test]
    fn tables_take_no_more_than_that() {
        use std::collections::HashMap;
        for count in [0, 1, 3, 7, 14, 28, 100, 448, 449, 1000, 57_344, 57_345] {
            let used = allocation_counter::measure(|| drop(HashMap::<u64, u64>::with_capacity(count))).bytes_max;
            assert!(used as usize <= table::<(u64, u64)>(count) + 64, "{count}: {used}");
        }
    }
}
