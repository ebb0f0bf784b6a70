//! Files beside an ONNX file, in which its larger tensors may lie.
//!
//! Only files in the same folder, named without a path, that are no links: else whoever made a network could have us read any
//! file there is (CVE-2022-25882, CVE-2024-27318).

use std::fs::Metadata;
use std::path::{Component, Path, PathBuf};

use crate::tensors::Bytes;
use crate::text::shown;

/// Most files beside one.
const MAX_FILES: usize = 256;

/// The files that are open.
#[derive(Debug, Default)]
pub(super) struct Externals {
    /// Where they are looked for; nowhere if the network does not come from a file.
    folder: Option<PathBuf>,
    files: Vec<(String, Bytes<'static>)>,
}

impl Externals {
    /// Files beside this one.
    pub(super) fn beside(path: &Path) -> Self {
        let folder = path.parent().map(Path::to_owned);
        Self { folder, files: Vec::new() }
    }

    /// The number of a file, which is opened if it is not open yet, and has so many bytes at least.
    ///
    /// # Errors
    /// Why it is not read.
    pub(super) fn open(&mut self, name: &str, bytes: usize) -> Result<usize, String> {
        let place = match self.files.iter().position(|(known, _)| known == name) {
            Some(place) => place,
            None => {
                let folder = self.folder.as_ref().ok_or("lies in another file, which a network in memory has not")?;
                if self.files.len() == MAX_FILES {
                    return Err(format!("lies in yet another file; at most {MAX_FILES} are read"));
                }
                self.files.push((name.to_owned(), open(folder, name)?));
                self.files.len() - 1
            }
        };
        match self.files[place].1.len() {
            len if len < bytes => Err(format!("ends at byte {bytes} of `{}`, which has {len}", shown(name))),
            _ => Ok(place),
        }
    }

    /// A file that is open.
    pub(super) fn get(&self, place: usize) -> &Bytes<'static> {
        &self.files[place].1
    }
}

fn open(folder: &Path, name: &str) -> Result<Bytes<'static>, String> {
    let mut parts = Path::new(name).components();
    let is_plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    let quoted = shown(name);
    if !is_plain || name.contains(['/', '\\', '\0']) {
        return Err(format!("lies in `{quoted}`; only files in the same folder are read, named without a path"));
    }
    let path = folder.join(name);
    let io = |e: std::io::Error| format!("lies in `{quoted}`, which cannot be read: {e}");
    let found = std::fs::symlink_metadata(&path).map_err(io)?;
    if found.is_symlink() || found.is_file() && links(&found) > 1 {
        return Err(format!("lies in `{quoted}`, which is a link to another file; put a copy there"));
    }
    let file = Bytes::open(&path).map_err(|e| format!("lies in `{quoted}`: {e}"))?;
    match file.metadata().is_some_and(|opened| is_same(&opened, &found)) {
        true => Ok(file),
        false => Err(format!("lies in `{quoted}`, which has been replaced while it was opened")),
    }
}

/// Names that the file has.
#[cfg(unix)]
fn links(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(metadata)
}

/// Names that the file has; not known here.
#[cfg(not(unix))]
fn links(_: &Metadata) -> u64 {
    1
}

/// Whether both are of one file.
#[cfg(unix)]
fn is_same(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Whether both are of one file, as far as can be told here.
#[cfg(not(unix))]
fn is_same(a: &Metadata, b: &Metadata) -> bool {
    a.len() == b.len()
}
