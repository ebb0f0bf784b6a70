//! Parquet files of photos: description, pages, rows, and the photos in them.
#![no_main]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::LazyLock;

use cspnet_data::{DataOptions, DataSet};
use cspnet_fuzz::{SLACK, hold, place, seeds, told};
use cspnet_vision::DecodeOptions;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static PLACE: LazyLock<TempDir> = LazyLock::new(place);

/// Photos are small here: they have a target of their own.
const PICTURE: u64 = 1 << 20;

fn options() -> DataOptions {
    let decode = DecodeOptions { max_pixels: 1 << 16, max_alloc: PICTURE, ..DecodeOptions::default() };
    DataOptions { decode, ..DataOptions::default() }
}

fn begin() {
    seeds::plant("parquet", seeds::parquet_files());
    // The reader takes a panic of Parquet's as damage. One that it lets through ends the target below.
    set_hook(Box::new(|_| {}));
}

fuzz_target!(init: begin(), |data: &[u8]| {
    let path = PLACE.path().join("train.parquet");
    fs::write(&path, data).expect("the file is written");
    let work = || hold(data.len() + SLACK + PICTURE as usize, || {
        DataSet::open_one(&path, None, &options(), &mut |_, _| {}).map_err(told)
    });
    if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
        let told = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|&s| s.into()));
        eprintln!("a panic: {told:?}");
        std::process::abort();
    }
});
