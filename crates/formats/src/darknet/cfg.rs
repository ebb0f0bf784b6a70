//! The grammar of `.cfg` files: a text to sections of options, as Darknet's own reader takes it apart.
//!
//! Spaces mean nothing, not even within a line; a line that begins with `#` or `;` is a comment; `[name]` begins a section; any
//! other line is `key=value`, and of equal keys the first counts. Not here: what a section means
//! ([`super::layers`]), and writing such a text ([`super::writer`]).

use crate::error::FormatError;

/// Longest text that is read, in bytes; the longest of Darknet's own have a twentieth of it.
pub(super) const MAX_LEN: usize = 1 << 20;

/// Most sections that are read.
const MAX_SECTIONS: usize = 1 << 14;

/// Longest name of a section, in characters.
const MAX_NAME: usize = 64;

/// Largest number: Darknet computes with signed ones of 32 bits.
const MAX_NUMBER: i64 = i32::MAX as i64;

/// A section.
#[derive(Debug)]
pub(super) struct Section {
    pub name: String,
    /// Where it begins, counted from 1.
    pub line: usize,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    key: String,
    value: String,
    line: usize,
}

/// The error that a line is wrong.
pub(super) fn wrong(line: usize, why: impl Into<String>) -> FormatError {
    FormatError::Cfg { line, why: why.into() }
}

/// Takes a text apart.
///
/// # Errors
/// If it is too long, or a line is neither of a section nor an option of one.
pub(super) fn sections(text: &str) -> Result<Vec<Section>, FormatError> {
    if text.len() > MAX_LEN {
        return Err(wrong(1, format!("the file has {} bytes; at most {MAX_LEN} are read", text.len())));
    }
    let mut sections: Vec<Section> = Vec::new();
    // Some editors mark a text as Unicode.
    for (i, raw) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = i + 1;
        let bare: String = raw.chars().filter(|c| !matches!(c, ' ' | '\t' | '\r')).collect();
        if bare.is_empty() || bare.starts_with(['#', ';']) {
            continue;
        }
        if bare.starts_with('[') {
            let name = bare.trim_start_matches('[').trim_end_matches(']').to_owned();
            if name.chars().count() > MAX_NAME {
                return Err(wrong(line, format!("a section's name of more than {MAX_NAME} characters")));
            }
            if sections.len() == MAX_SECTIONS {
                return Err(wrong(line, format!("more than {MAX_SECTIONS} sections")));
            }
            sections.push(Section { name, line, entries: Vec::new() });
            continue;
        }
        let (key, value) = bare.split_once('=').ok_or_else(|| wrong(line, "neither `[section]` nor `key=value`"))?;
        let section = sections.last_mut().ok_or_else(|| wrong(line, "an option before the first section"))?;
        section.entries.push(Entry { key: key.into(), value: value.into(), line });
    }
    Ok(sections)
}

impl Section {
    fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.key == key)
    }

    /// An option as it is written.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.entry(key).map(|e| e.value.as_str())
    }

    /// The error that an option's value is wrong.
    pub(super) fn wrong(&self, key: &str, why: &str) -> FormatError {
        match self.entry(key) {
            Some(e) => wrong(e.line, format!("`{}={}` {why}", e.key, beginning(&e.value))),
            None => wrong(self.line, format!("[{}] without `{key}`, which {why}", self.name)),
        }
    }

    /// A number that is not negative, or the one that stands for none.
    pub(super) fn whole(&self, key: &str, otherwise: usize) -> Result<usize, FormatError> {
        let Some(entry) = self.entry(key) else { return Ok(otherwise) };
        let number = whole(&entry.value).and_then(|n| usize::try_from(n).ok());
        number.ok_or_else(|| self.wrong(key, "is not a whole number from 0 to 2147483647"))
    }

    /// Whole numbers with commas between them; none if the option is not there.
    pub(super) fn list(&self, key: &str) -> Result<Vec<i64>, FormatError> {
        let Some(entry) = self.entry(key) else { return Ok(Vec::new()) };
        let list = number(&entry.value).split(',').map(whole).collect::<Option<_>>();
        list.ok_or_else(|| self.wrong(key, "is not a list of whole numbers with commas between them"))
    }

    /// A finite real number, or the one that stands for none.
    pub(super) fn real(&self, key: &str, otherwise: f64) -> Result<f64, FormatError> {
        let Some(entry) = self.entry(key) else { return Ok(otherwise) };
        let real = number(&entry.value).parse().ok().filter(|v: &f64| v.is_finite());
        real.ok_or_else(|| self.wrong(key, "is not a number"))
    }

    /// Whether an option is there and says something else than nothing.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.text(key).is_some_and(|value| !matches!(number(value), "" | "0" | "none"))
    }
}

/// Of a long value its beginning.
pub(super) fn beginning(value: &str) -> &str {
    value.char_indices().nth(40).map_or(value, |(end, _)| &value[..end])
}

/// The part of a value that Darknet's reader of numbers gets to see: what follows `#` or `;` ends it.
fn number(value: &str) -> &str {
    value.split(['#', ';']).next().unwrap_or_default()
}

fn whole(value: &str) -> Option<i64> {
    number(value).parse().ok().filter(|n: &i64| (-MAX_NUMBER..=MAX_NUMBER).contains(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_as_darknet_takes_them() {
        let text = "\u{feff}# a comment\n [ net ] \r\nwid th = 12 8 # cut\n\twidth=7\n; another\n\n[route]\n\
            layers = -1, 3\nactivation=\n";
        let all = sections(text).unwrap();
        assert_eq!(all.iter().map(|s| (s.name.as_str(), s.line)).collect::<Vec<_>>(), [("net", 2), ("route", 7)]);
        assert_eq!(all[0].whole("width", 1).unwrap(), 128);
        assert_eq!(all[0].whole("height", 1).unwrap(), 1);
        assert_eq!(all[1].list("layers").unwrap(), [-1, 3]);
        assert_eq!(all[1].text("activation"), Some(""));
        assert!(!all[1].is_set("groups"));
    }

    #[test]
    fn what_is_no_line_is_told_with_its_place() {
        let told = |text: &str| sections(text).unwrap_err().to_string();
        assert!(told("a=1").starts_with("line 1: an option before"));
        assert!(told("[net]\n\nwidth").starts_with("line 3: neither"));
        assert!(told(&"[a]\n".repeat(MAX_SECTIONS + 1)).contains("sections"));
        assert!(told(&" ".repeat(MAX_LEN + 1)).contains("bytes"));
        assert!(told(&format!("[net]\n[{}]", "a".repeat(65))).starts_with("line 2: a section's name"));
        let all = sections("[net]\nwidth=9999999999\nheight=-1\nchannels=three\nr=1e999").unwrap();
        for key in ["width", "height", "channels"] {
            assert!(all[0].whole(key, 0).unwrap_err().to_string().contains("whole number"), "{key}");
        }
        assert!(all[0].real("r", 0.0).unwrap_err().to_string().starts_with("line 5: "));
    }
}
