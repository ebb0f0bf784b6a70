//! Writing a file so that its path holds either what was there before or all of the new bytes, whatever happens meanwhile.
//!
//! The bytes go to a file of their own beside the path, `NAME.PROCESS.NUMBER.part`, which then takes the path's name. A process
//! that is killed on the way leaves its `.part` file behind. Nobody reads such a file, and nobody removes it either: whether its
//! process still lives, perhaps on another machine that shares the folder, cannot be told from here.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::crash;
use crate::error::FormatError;

/// Most symbolic links that are followed, as many as Linux follows.
const MAX_LINKS: usize = 40;

/// Writes `bytes` to a new file beside `path`, makes sure they are on the disk, and gives it the name.
///
/// A file that is replaced hands on its mode. A symbolic link stays one: its target is what is written.
///
/// # Errors
/// If any of that fails; what was at `path` is then still there, and the new file is not. Only where the folder itself cannot
/// be brought to the disk, which comes last, the new file is already in place.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FormatError> {
    Pending::new(path, bytes)?.place()
}

/// A file that is whole and on the disk, but does not have its name yet: somebody may look at it first. Without
/// [`place`](Self::place) it is removed, and what was under the name stays.
#[derive(Debug)]
pub struct Pending {
    /// The path that was asked for.
    name: PathBuf,
    /// The path at the end of symbolic links.
    target: PathBuf,
    temporary: PathBuf,
}

impl Pending {
    /// Writes `bytes` to a new file beside `path`.
    ///
    /// # Errors
    /// As [`write()`].
    pub fn new(path: &Path, bytes: &[u8]) -> Result<Self, FormatError> {
        let failed = |source| FormatError::Io { path: path.to_owned(), what: "written", source };
        let mode = mode_to_keep(path)?;
        let target = behind_links(path).map_err(failed)?;
        let (temporary, file) = create_beside(&target).map_err(failed)?;
        let new = Self { name: path.to_owned(), target, temporary };
        crash::point(&new.target, "created").and_then(|()| fill(file, mode, bytes, &new.target)).map_err(failed)?;
        Ok(new)
    }

    /// Where the bytes are for now.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// As [`write()`].
    pub fn place(self) -> Result<(), FormatError> {
        let failed = |source| FormatError::Io { path: self.name.clone(), what: "written", source };
        fs::rename(&self.temporary, &self.target).map_err(failed)?;
        crash::point(&self.target, "renamed").and_then(|()| sync_folder(&self.target)).map_err(failed)?;
        crash::point(&self.target, "folder on the disk").map_err(failed)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // It has its name, or is gone for another reason: then there is nothing to do.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// The mode of the file that will be replaced. What is no file, such as `/dev/null`, must not become one.
fn mode_to_keep(path: &Path) -> Result<Option<Permissions>, FormatError> {
    match fs::metadata(path) {
        Ok(old) if old.is_file() => Ok(Some(old.permissions()).filter(|_| cfg!(unix))),
        Ok(_) => Err(FormatError::NotAFile {
            path: path.to_owned(),
            why: "is no file that could be replaced; give the path of a file".into(),
        }),
        // Nothing there, or nothing that can be seen: then creating the new file tells why.
        Err(_) => Ok(None),
    }
}

/// The path at the end of a chain of symbolic links, whether or not there is anything.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    let mut target = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(next) = fs::read_link(&target) else { return Ok(target) };
        target = folder(&target).join(next);
    }
    Err(io::Error::other("its symbolic links lead to one another; remove them"))
}

/// A new file that no other thread or process has.
fn create_beside(target: &Path) -> io::Result<(PathBuf, File)> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    loop {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.{}.part", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
        let temporary = target.with_file_name(name);
        match File::create_new(&temporary) {
            // Of a dead process that had the same number.
            Err(taken) if taken.kind() == ErrorKind::AlreadyExists => {}
            created => return created.map(|file| (temporary, file)),
        }
    }
}

fn fill(mut file: File, mode: Option<Permissions>, bytes: &[u8], target: &Path) -> io::Result<()> {
    // Before the bytes, so that nobody reads them who may not read the old ones.
    mode.map_or(Ok(()), |mode| file.set_permissions(mode))?;
    let (front, back) = bytes.split_at(bytes.len() / 2);
    file.write_all(front)?;
    crash::point(target, "half written")?;
    file.write_all(back)?;
    crash::point(target, "written")?;
    file.sync_all()?;
    crash::point(target, "on the disk")
}

/// The new name is on the disk only when the folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder(path))?.sync_all() } else { Ok(()) }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.safetensors");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(files(dir.path()), 1);
    }

    #[test]
    fn a_failure_leaves_the_old_file_and_no_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), b"kept").unwrap();
        assert!(matches!(write(&path, b"new"), Err(FormatError::NotAFile { .. })));
        assert!(write(&dir.path().join("nowhere/m.safetensors"), b"new").is_err());
        assert!(write(&path.join("inside/m.safetensors"), b"new").is_err());
        assert_eq!(fs::read(path.join("inside")).unwrap(), b"kept");
        assert_eq!(files(dir.path()), 1);
    }

    #[test]
    fn a_file_that_does_not_get_its_name_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.onnx");
        write(&path, b"old").unwrap();
        let pending = Pending::new(&path, b"new").unwrap();
        assert_eq!((fs::read(pending.path()).unwrap(), fs::read(&path).unwrap()), (b"new".into(), b"old".into()));
        drop(pending);
        assert_eq!((fs::read(&path).unwrap(), files(dir.path())), (b"old".into(), 1));
    }

    #[test]
    fn threads_that_write_one_path_do_not_disturb_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.safetensors");
        std::thread::scope(|scope| {
            for letter in b'a'..b'e' {
                let path = &path;
                scope.spawn(move || (0..20).for_each(|_| write(path, &[letter; 100_000]).unwrap()));
            }
        });
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.len() == 100_000 && bytes.iter().all(|b| *b == bytes[0]));
        assert_eq!(files(dir.path()), 1);
    }

    #[test]
    fn a_left_over_of_a_dead_process_is_neither_used_nor_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.safetensors");
        // Whichever number comes next, it is taken; other tests of this process draw numbers as well.
        let (first, _) = create_beside(&path).unwrap();
        let number: u64 = first.to_str().unwrap().rsplit('.').nth(1).unwrap().parse().unwrap();
        let taken = |n: u64| path.with_file_name(format!("m.safetensors.{}.{n}.part", std::process::id()));
        (1..200).for_each(|n| fs::write(taken(number + n), b"left over").unwrap());
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!((1..200).all(|n| fs::read(taken(number + n)).unwrap() == b"left over"));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_is_replaced_hands_on_its_mode() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.safetensors");
        for mode in [0o600, 0o640, 0o755, 0o444] {
            write(&path, b"old").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            write(&path, b"new").unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
        }
    }

    #[cfg(unix)]
    #[test]
    fn symbolic_links_stay_and_their_target_is_written() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("store")).unwrap();
        let (target, near, far) =
            (dir.path().join("store/m.1"), dir.path().join("near.safetensors"), dir.path().join("far.safetensors"));
        symlink("store/m.1", &near).unwrap();
        symlink(&near, &far).unwrap();
        for bytes in [b"one", b"two"] {
            write(&far, bytes).unwrap();
            assert_eq!(fs::read(&target).unwrap(), bytes);
            assert!(near.is_symlink() && far.is_symlink() && !target.is_symlink());
        }
        assert_eq!((files(dir.path()), files(&dir.path().join("store"))), (3, 1));
        let round = dir.path().join("round");
        symlink("round", &round).unwrap();
        assert!(write(&round, b"new").unwrap_err().to_string().contains("links"));
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_not_replaced_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(matches!(write(&socket, b"new"), Err(FormatError::NotAFile { .. })));
        assert!(!fs::metadata(&socket).unwrap().is_file());
        assert_eq!(files(dir.path()), 1);
    }
}
