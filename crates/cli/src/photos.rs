//! Which photos a command line names: files, folders, glob patterns, and lists on standard input.

use std::io::{self, BufRead, Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};

use cspnet::vision::is_called_a_photo;
use walkdir::WalkDir;

/// A photo's path, or why something that was named gives none.
pub type Named = Result<PathBuf, (PathBuf, String)>;

/// The photos that `arguments` name, one after another, found as they are asked for.
pub fn expand(arguments: &[PathBuf]) -> impl Iterator<Item = Named> + '_ {
    arguments.iter().flat_map(|a| named_by(a))
}

fn named_by(argument: &Path) -> Box<dyn Iterator<Item = Named>> {
    if argument == Path::new("-") {
        return Box::new(listed(io::stdin().lock()));
    }
    if argument.is_dir() {
        return Box::new(inside(argument));
    }
    match argument.to_str() {
        Some(pattern) if !argument.exists() && pattern.contains(['*', '?', '[']) => Box::new(matching(pattern)),
        _ => one(Ok(argument.to_owned())),
    }
}

fn one(named: Named) -> Box<dyn Iterator<Item = Named>> {
    Box::new(std::iter::once(named))
}

/// All files below a folder that are called like photos, in the order of their names; links are followed, as where photos are learnt from.
fn inside(folder: &Path) -> impl Iterator<Item = Named> + use<> {
    let whole = folder.to_owned();
    WalkDir::new(folder).follow_links(true).sort_by_file_name().into_iter().filter_map(move |entry| match entry {
        Ok(entry) if entry.file_type().is_dir() || !is_called_a_photo(entry.path()) => None,
        Ok(entry) => Some(Ok(entry.into_path())),
        // What a circle leads back to has been looked at, and a link to nowhere is of no use unless it is called like a photo.
        Err(e) if e.loop_ancestor().is_some() => None,
        Err(e) if e.path().is_some_and(|p| p.is_symlink() && !is_called_a_photo(p)) => None,
        Err(e) => {
            Some(Err((e.path().map_or_else(|| whole.clone(), Path::to_owned), format!("cannot look inside: {e}"))))
        }
    })
}

/// The files a pattern matches; at least one, or it is told.
fn matching(pattern: &str) -> Box<dyn Iterator<Item = Named>> {
    let asked = PathBuf::from(pattern);
    match glob::glob(pattern) {
        Ok(paths) => {
            let mut found = paths
                .map(|p| p.map_err(|e| (e.path().to_owned(), format!("cannot be read: {}", e.error()))))
                .filter(|p| !p.as_ref().is_ok_and(|p| p.is_dir()))
                .peekable();
            if found.peek().is_none() {
                return one(Err((asked, "no file matches this pattern".into())));
            }
            Box::new(found)
        }
        Err(e) => one(Err((asked, format!("is no pattern: {e}")))),
    }
}

/// Paths from a list, separated by what comes first in it: a NUL character (`find -print0`) or the end of a line.
fn listed(mut list: impl BufRead) -> impl Iterator<Item = Named> {
    let mut first = Vec::new();
    // What cannot be read here cannot be read below either, where it is told.
    let separator = separator(&mut list, &mut first).unwrap_or(b'\n');
    let mut is_over = false;
    let paths = Cursor::new(first).chain(list).split(separator);
    // The same error would come for ever.
    let paths = paths.take_while(move |path| !std::mem::replace(&mut is_over, path.is_err()));
    paths.filter_map(move |path| match path {
        Ok(path) => {
            let of_line = path.strip_suffix(b"\r").filter(|_| separator == b'\n');
            let path = of_line.unwrap_or(&path);
            (!path.is_empty()).then(|| Ok(path_of(path)))
        }
        Err(e) => Some(Err((PathBuf::from("-"), format!("the list on standard input cannot be read: {e}")))),
    })
}

/// Reads as far as the first separator, and says which it is.
fn separator(list: &mut impl BufRead, read: &mut Vec<u8>) -> io::Result<u8> {
    loop {
        let there = match list.fill_buf() {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            there => there?,
        };
        let at = there.iter().position(|&b| matches!(b, 0 | b'\n'));
        let found = at.map(|at| there[at]);
        let count = at.map_or(there.len(), |at| at + 1);
        read.extend_from_slice(&there[..count]);
        list.consume(count);
        // A list without an end of a line is one line.
        if found.is_some() || count == 0 {
            return Ok(found.unwrap_or(b'\n'));
        }
    }
}

#[cfg(unix)]
fn path_of(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(bytes)).to_owned()
}

#[cfg(not(unix))]
fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(named: impl Iterator<Item = Named>) -> Vec<String> {
        named.map(|n| n.unwrap().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn lists_may_use_lines_or_nul_characters() {
        assert_eq!(paths(listed(&b"a.jpg\nb c.jpg\r\n\nd.jpg"[..])), ["a.jpg", "b c.jpg", "d.jpg"]);
        assert_eq!(paths(listed(&b"a.jpg\0b\nc.jpg\0"[..])), ["a.jpg", "b\nc.jpg"]);
        assert_eq!(paths(listed(&b"a.jpg"[..])), ["a.jpg"]);
        assert_eq!(paths(listed(&b""[..])), [""; 0]);
    }

    #[test]
    fn a_list_that_cannot_be_read_is_told_once() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("it is a folder"))
            }
        }
        let list = std::io::BufReader::new(Cursor::new(b"a.jpg\nb").chain(Broken));
        let named: Vec<Named> = listed(list).collect();
        assert!(matches!(&named[..], [Ok(_), Err((_, why))] if why.contains("it is a folder")), "{named:?}");
        assert_eq!(listed(std::io::BufReader::new(Broken)).count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_circles_left() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(other.path().join("a.png"), b"").unwrap();
        let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, dir.path().join(name)).unwrap();
        link(other.path(), "linked");
        link(dir.path(), "circle");
        link(Path::new("nowhere"), "notes");
        link(Path::new("nowhere"), "z.jpg");
        let named: Vec<Named> = inside(dir.path()).collect();
        let [Ok(photo), Err((broken, _))] = &named[..] else { panic!("{named:?}") };
        assert!(photo.ends_with("linked/a.png") && broken.ends_with("z.jpg"), "{named:?}");
    }

    #[test]
    fn folders_are_walked_in_order_and_only_photos_taken() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("b")).unwrap();
        for name in ["c.JPG", "a.png", "notes.txt", "b/x.webp"] {
            std::fs::write(dir.path().join(name), b"").unwrap();
        }
        let names: Vec<String> = inside(dir.path())
            .map(|n| n.unwrap().strip_prefix(dir.path()).unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, ["a.png", "b/x.webp", "c.JPG"]);
    }

    #[test]
    fn a_pattern_without_a_match_is_told() {
        let missing: Vec<Named> = expand(&[PathBuf::from("nowhere-*.jpg")]).collect();
        assert!(matches!(&missing[..], [Err((_, why))] if why.contains("no file matches")));
    }
}
