//! Which photos a command line names: files, folders, glob patterns, and lists on standard input.

use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

/// Endings of the files that are taken from a folder. A file that is named itself is always taken.
const ENDINGS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"];

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

/// All photos below a folder, in the order of their names.
fn inside(folder: &Path) -> impl Iterator<Item = Named> + use<> {
    let is_photo = |p: &Path| {
        let ending = p.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
        ENDINGS.contains(&ending.as_str())
    };
    let whole = folder.to_owned();
    WalkDir::new(folder).sort_by_file_name().into_iter().filter_map(move |entry| match entry {
        Ok(entry) if entry.file_type().is_dir() || !is_photo(entry.path()) => None,
        Ok(entry) => Some(Ok(entry.into_path())),
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

/// Paths from a list, separated by NUL characters if there are any (`find -print0`), else one a line.
fn listed(list: impl BufRead) -> impl Iterator<Item = Named> {
    let told = |e: io::Error| (PathBuf::from("-"), format!("the list on standard input cannot be read: {e}"));
    list.split(b'\n').flat_map(move |line| match line {
        Ok(line) => {
            let paths = line.split(|&b| b == 0).map(|p| p.strip_suffix(b"\r").unwrap_or(p));
            paths.filter(|p| !p.is_empty()).map(|p| Ok(path_of(p))).collect::<Vec<_>>()
        }
        Err(e) => vec![Err(told(e))],
    })
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
        assert_eq!(paths(listed(&b"a.jpg\0b.jpg\0"[..])), ["a.jpg", "b.jpg"]);
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
