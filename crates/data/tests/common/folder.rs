//! A folder with photos for one test.
#![allow(dead_code, reason = "each test binary compiles this module and uses a part of it")]

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use cspnet_data::{DataError, DataOptions, DataSet};
use tempfile::TempDir;

use crate::pixel::bmp;

pub struct Folder(pub TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A folder with two photos for each of these class folders, no photo twice.
    pub fn with(classes: &[&str]) -> Self {
        let folder = Self::new();
        for (i, class) in classes.iter().enumerate() {
            folder.photos(class, 2 * i..2 * i + 2);
        }
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Photos `class/N.bmp`.
    pub fn photos(&self, class: &str, numbers: Range<usize>) {
        numbers.for_each(|n| self.write(&format!("{class}/{n}.bmp"), &bmp(n)));
    }

    pub fn open(&self) -> Result<DataSet, DataError> {
        DataSet::open(self.0.path(), &DataOptions::default(), &mut |_, _| {})
    }

    /// The error of `open`.
    pub fn refused(&self) -> String {
        self.open().unwrap_err().to_string()
    }

    /// A path's name below this folder.
    pub fn name(&self, path: &Path) -> String {
        path.strip_prefix(self.0.path()).unwrap().to_string_lossy().replace('\\', "/")
    }
}
