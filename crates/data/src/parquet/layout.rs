//! Where the parts of a Parquet file lie and how large they claim to be, checked before anything is read by those claims.
//!
//! Parquet's reader takes memory for the sizes that pages and their description claim, and goes down as many levels as the schema
//! does. Here both are read first ([`super::thrift`], [`super::forms`]), and what no file of photos has is refused with its place. Not
//! here: what the pages hold.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use super::forms;
use super::thrift::{self, Trouble, Value};

/// Longest description of a file, in bytes: of a thousand row groups it has half a megabyte, and twice the classes' names.
const MOST_FOOTER: usize = 8 << 20;

/// Bytes behind the description: its length, and the file's mark.
const END: usize = 8;

/// Most columns and groups of columns, and the longest name of one.
const MOST_COLUMNS: usize = 512;
const MOST_NAME: usize = 256;

/// Longest description of a page; mostly it has some forty bytes.
const MOST_HEADER: usize = 64 << 10;
const HEADER: usize = 4 << 10;

/// Most pages that are looked at in a file.
const MOST_PAGES: usize = 1 << 17;

/// Most values of a dictionary. Writers end one at a megabyte.
const MOST_WORDS: i64 = 1 << 18;

/// How values lie in a page: as they are, or as numbers of a dictionary's values, by today's name and by the old one.
const PLAIN: i64 = 0;
const ENCODINGS: [i64; 3] = [PLAIN, 2, 8];

/// What a page is.
const DATA: i64 = 0;
const DICTIONARY: i64 = 2;
const DATA_2: i64 = 3;

/// A file whose parts are looked at before they are read.
pub(super) struct Layout {
    file: File,
    len: u64,
    /// How many pages may yet be looked at.
    pages: usize,
}

impl Layout {
    /// Looks at the description of a whole file.
    pub(super) fn open(file: File, len: u64) -> Result<Self, String> {
        let mut layout = Self { file, len, pages: MOST_PAGES };
        layout.check_footer()?;
        Ok(layout)
    }

    /// The file's length.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    fn check_footer(&mut self) -> Result<(), String> {
        let from = self.len.checked_sub(END as u64).ok_or("it is too short for a Parquet file")?;
        let end = self.read(from, END)?;
        if end[4..] != *b"PAR1" {
            return Err("its end is not that of a Parquet file; copy or download it again".into());
        }
        let length = u32::from_le_bytes([end[0], end[1], end[2], end[3]]) as usize;
        let begin = from.checked_sub(length as u64).filter(|_| length <= MOST_FOOTER);
        let begin =
            begin.ok_or_else(|| format!("its description claims {length} bytes; at most {MOST_FOOTER} are read"))?;
        let bytes = self.read(begin, length)?;
        let (about, _) = thrift::read(&bytes).map_err(|trouble| match trouble {
            Trouble::Cut => "its description is cut off".to_owned(),
            Trouble::Wrong(why) => format!("its description has {why}"),
        })?;
        forms::FILE.check(&about).map_err(|why| format!("its description has {why}"))?;
        check_schema(about.list(2))
    }

    /// Looks at the pages of a column that lie there, of which `room` bytes may come, and takes them off it.
    pub(super) fn check_pages(&mut self, (begin, len): (u64, u64), room: &mut u64) -> Result<(), String> {
        let mut at = begin;
        let end = begin.checked_add(len).filter(|&end| end <= self.len).ok_or("a column reaches beyond the file")?;
        while at < end {
            let page = self.check_page(at, end, room).map_err(|why| format!("the page at byte {at} {why}"))?;
            at += page;
        }
        Ok(())
    }

    /// Looks at a page; how many bytes it takes in the file.
    fn check_page(&mut self, at: u64, end: u64, room: &mut u64) -> Result<u64, String> {
        self.pages = self.pages.checked_sub(1).ok_or_else(|| format!("is one of more than {MOST_PAGES}"))?;
        let mut window = HEADER;
        let (sizes, header) = loop {
            let bytes = self.read(at, window.min((end - at) as usize))?;
            match thrift::read(&bytes) {
                Ok((page, header)) => {
                    forms::PAGE.check(&page).map_err(|why| format!("has a description with {why}"))?;
                    break (Sizes::of(&page)?, header as u64);
                }
                Err(Trouble::Cut) if window == HEADER && bytes.len() == HEADER => window = MOST_HEADER,
                Err(Trouble::Cut) => return Err(format!("has no description within {} bytes", bytes.len())),
                Err(Trouble::Wrong(why)) => return Err(format!("has a description with {why}")),
            }
        };
        let left = end - at - header;
        if sizes.packed > left {
            return Err(format!("claims {} bytes, of which {left} are there", sizes.packed));
        }
        // A page that is not packed takes what it has in the file, whatever it says.
        *room = room.checked_sub(sizes.unpacked.max(sizes.packed)).ok_or_else(|| {
            format!("claims {} bytes, which are more than may be held in memory; {}", sizes.unpacked, super::UNPACK)
        })?;
        Ok(header + sizes.packed)
    }

    fn read(&mut self, at: u64, len: usize) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; len];
        let read = self.file.seek(SeekFrom::Start(at)).and_then(|_| self.file.read_exact(&mut bytes));
        read.map(|()| bytes).map_err(|e| e.to_string())
    }
}

/// Bytes of a page, in the file and unpacked.
struct Sizes {
    packed: u64,
    unpacked: u64,
}

impl Sizes {
    fn of(page: &Value<'_>) -> Result<Self, String> {
        let size = |field| page.number(field).and_then(|n| u64::try_from(n).ok()).ok_or("has no size");
        let sizes = Self { packed: size(3)?, unpacked: size(2)? };
        let known = |value: Option<i64>| match value {
            Some(encoding) if ENCODINGS.contains(&encoding) => Ok(()),
            other => Err(format!("is encoded in a way that is not read ({})", other.unwrap_or(-1))),
        };
        match page.number(1) {
            Some(DATA) => known(page.field(5).and_then(|data| data.number(2)))?,
            Some(DATA_2) => known(page.field(8).and_then(|data| data.number(4)))?,
            Some(DICTIONARY) => {
                let words = page.field(7).and_then(|dictionary| dictionary.number(1)).unwrap_or(-1);
                // Each takes four bytes at least.
                if !(0..=MOST_WORDS).contains(&words) || words as u64 > sizes.unpacked / 4 {
                    return Err(format!("claims a dictionary of {words} values"));
                }
                known(page.field(7).and_then(|dictionary| dictionary.number(2)))?;
            }
            _ => return Err("is of a kind that is not read".into()),
        }
        Ok(sizes)
    }
}

/// Whether a schema has no more columns, levels and names than its reader can take.
fn check_schema(elements: &[Value<'_>]) -> Result<(), String> {
    if elements.len() > MOST_COLUMNS {
        return Err(format!("it has {} columns; at most {MOST_COLUMNS} are read", elements.len()));
    }
    for element in elements {
        if element.bytes(4).is_none_or(|name| name.len() > MOST_NAME) {
            return Err(format!("it has a column without a name, or with one of more than {MOST_NAME} bytes"));
        }
        let children = element.number(5).unwrap_or(0);
        if usize::try_from(children).map_or(true, |n| n >= elements.len().max(1)) {
            return Err(format!("it has a group of {children} columns, and {} columns in all", elements.len()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn layout(bytes: &[u8]) -> Layout {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Layout { file, len: bytes.len() as u64, pages: MOST_PAGES }
    }

    /// A whole number as a field that follows the one before.
    fn number(n: i64) -> Vec<u8> {
        let (mut rest, mut bytes) = ((n << 1 ^ n >> 63) as u64, vec![0x15]);
        while rest > 0x7F {
            bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
        bytes
    }

    fn structure(fields: &[i64]) -> Vec<u8> {
        [&fields.iter().flat_map(|&n| number(n)).collect::<Vec<_>>()[..], &[0]].concat()
    }

    /// The description of a page of a kind, unpacked and packed so long, with the structure of its kind.
    fn page(sizes: [i64; 3], kind: u8, fields: &[i64]) -> Vec<u8> {
        let sizes: Vec<u8> = sizes.iter().flat_map(|&n| number(n)).collect();
        [&sizes[..], &[kind], &structure(fields), &[0]].concat()
    }

    const IN_DATA: u8 = 0x2C;
    const IN_DICTIONARY: u8 = 0x4C;
    const IN_DATA_2: u8 = 0x5C;

    #[test]
    fn pages_that_are_there_are_taken_off_the_room() {
        let pages = [
            page([DICTIONARY, 40, 4], IN_DICTIONARY, &[10, PLAIN]),
            b"abcd".to_vec(),
            page([DATA, 100, 3], IN_DATA, &[10, 8]),
            b"abc".to_vec(),
            page([DATA_2, 2, 2], IN_DATA_2, &[10, 0, 10, PLAIN]),
            b"ab".to_vec(),
        ];
        let bytes = pages.concat();
        let all = (0, bytes.len() as u64);
        let mut room = 1000;
        assert_eq!(layout(&bytes).check_pages(all, &mut room), Ok(()));
        assert_eq!(room, 1000 - 142);
        let error = layout(&bytes).check_pages(all, &mut 141).unwrap_err();
        let third = bytes.len() - 2 - pages[4].len();
        assert!(error.starts_with(&format!("the page at byte {third} claims 2 bytes")), "{error}");
        assert!(
            layout(&bytes).check_pages((1, bytes.len() as u64), &mut 1000).unwrap_err().contains("beyond the file")
        );
        assert!(layout(&bytes).check_pages((u64::MAX, 2), &mut 1000).unwrap_err().contains("beyond the file"));
        assert!(
            layout(&bytes).check_pages((0, bytes.len() as u64 - 1), &mut 1000).unwrap_err().contains("1 are there")
        );
    }

    #[test]
    fn pages_that_lie_are_refused_with_their_place() {
        let told = |bytes: &[u8]| layout(bytes).check_pages((0, bytes.len() as u64), &mut (1 << 30)).unwrap_err();
        let most = i64::from(i32::MAX);
        for (page, reason) in [
            (page([DATA, most, 0], IN_DATA, &[10, PLAIN]), "claims 2147483647 bytes, which are more than may be held"),
            (page([DATA, 0, most], IN_DATA, &[10, PLAIN]), "claims 2147483647 bytes, of which 0 are there"),
            (page([DATA, -1, 0], IN_DATA, &[10, PLAIN]), "has no size"),
            (page([DATA, 0, -1], IN_DATA, &[10, PLAIN]), "has no size"),
            (page([DATA, 8, 0], IN_DATA, &[10, 5]), "in a way that is not read (5)"),
            (page([DATA, 8, 0], IN_DICTIONARY, &[2, PLAIN]), "in a way that is not read (-1)"),
            (page([DATA_2, 8, 0], IN_DATA_2, &[10, 0, 10, 7]), "in a way that is not read (7)"),
            (page([DICTIONARY, 1 << 29, 0], IN_DICTIONARY, &[most, PLAIN]), "claims a dictionary of 2147483647 values"),
            (page([DICTIONARY, 11, 0], IN_DICTIONARY, &[3, PLAIN]), "claims a dictionary of 3 values"),
            (page([DICTIONARY, 11, 0], IN_DICTIONARY, &[-3, PLAIN]), "claims a dictionary of -3 values"),
            (page([1, 8, 0], IN_DATA, &[10, PLAIN]), "is of a kind that is not read"),
            (vec![0], "has no size"),
            (vec![0x15, 0x80], "has no description within 2 bytes"),
            // Statistics of four gigabytes.
            (vec![0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0], "has no description within 7 bytes"),
            (vec![0x1C; 10_000], "nest deeper"),
            // What Parquet's reader would go by is the second, which claims a gigabyte.
            (
                [&structure(&[DATA, 8, 0])[..6], &[0x05, 0x04], &number(1 << 30)[1..], &[0]].concat(),
                "has a description with a field that comes twice",
            ),
            (vec![0x15, 0, 0x18, 1, b'a', 0], "has a description with a field of a kind that it never has"),
        ] {
            let error = told(&page);
            assert!(
                error.starts_with("the page at byte 0 ") && error.contains(reason),
                "{error}\ninstead of: {reason}"
            );
        }
        // A field that Parquet does not have, longer than what is read at first.
        let [head, end] = [page([DATA, 8, 0], IN_DATA, &[10, PLAIN]), vec![0]];
        let long = [&head[..head.len() - 1], &[0x98, 0x90, 0x4E], &vec![0; 10_000], &end].concat();
        assert_eq!(layout(&long).check_pages((0, long.len() as u64), &mut 8), Ok(()));
        let many = page([DATA, 0, 0], IN_DATA, &[0, PLAIN]).repeat(MOST_PAGES + 1);
        let error = told(&many);
        assert!(error.contains("is one of more than 131072"), "{error}");
    }

    /// A file with this description.
    fn described(footer: &[u8]) -> Result<Layout, String> {
        let bytes = [b"PAR1", footer, &(footer.len() as u32).to_le_bytes(), b"PAR1"].concat();
        let Layout { file, len, .. } = layout(&bytes);
        Layout::open(file, len)
    }

    /// A description with a schema of these elements.
    fn schema(elements: &[Vec<u8>]) -> Vec<u8> {
        let count = [elements.len() as u8 & 0x7F | 0x80, (elements.len() >> 7) as u8];
        [&number(1)[..], &[0x19, 0xFC], &count, &elements.concat(), &[0]].concat()
    }

    fn element(name: &str, children: i64) -> Vec<u8> {
        let length = [name.len() as u8 & 0x7F | 0x80, (name.len() >> 7) as u8];
        [&[0x48][..], &length, name.as_bytes(), &number(children), &[0]].concat()
    }

    #[test]
    fn descriptions_that_lie_are_refused() {
        let refused = |footer: &[u8]| described(footer).err().unwrap();
        assert!(described(&schema(&[element("schema", 1), element("a", 0)])).is_ok());
        let deep: Vec<Vec<u8>> = (0..600).map(|_| element("a", 1)).collect();
        assert!(refused(&schema(&deep)).contains("600 columns; at most 512"));
        assert!(refused(&schema(&[element("schema", i64::from(i32::MAX))])).contains("a group of 2147483647 columns"));
        assert!(refused(&schema(&[element("schema", -1)])).contains("a group of -1 columns"));
        assert!(refused(&schema(&[element(&"a".repeat(257), 0)])).contains("more than 256 bytes"));
        // Two thousand million row groups.
        assert!(refused(b"\x15\x02\x49\xfc\xff\xff\xff\xff\x07\0").contains("is cut off"));
        assert!(refused(b"\x15").contains("is cut off"));
        // Two truth values, over which Parquet's reader would pass without taking their bytes, which say other things to it.
        assert!(refused(b"\x15\x02\xf9\x21\x01\x01\0").contains("has a list of truth values"));
        assert!(refused(b"\x18\x01a\0").contains("has a field of a kind that it never has"));
        for (length, mark) in [(5, b"PAR1"), (u32::MAX, b"PAR1"), (0, b"PAR2")] {
            let bytes = [&b"PAR1"[..], &length.to_le_bytes(), mark].concat();
            let Layout { file, len, .. } = layout(&bytes);
            assert!(Layout::open(file, len).is_err());
        }
        let Layout { file, .. } = layout(b"PAR1");
        assert!(Layout::open(file, 4).err().unwrap().contains("too short"));
    }
}
