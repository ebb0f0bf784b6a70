//! The zip archive around a file of PyTorch or of NumPy: where the bytes of each of its members stand.
//!
//! Not a reader of zip in general. Members are stored as they are or deflated, one behind the other, so one that is compressed in
//! another way, encrypted or in another file is refused, and so are two that share bytes. The directory at the end counts, and what
//! stands before each member has to agree with it. Not here: unpacking, and how long a member may become.

use std::collections::HashMap;

use crate::error::FormatError;
use crate::tensors::Bytes;

/// Longest directory that is read, in bytes: some fifty thousand members.
const MAX_DIRECTORY: usize = 4 << 20;

/// Longest name of a member, in bytes.
const MAX_NAME: usize = 512;

/// Bytes of what ends an archive, and of the longest comment behind it.
const END: usize = 22;
const MAX_COMMENT: usize = u16::MAX as usize;

/// Bytes of the two parts that come before the end where 32 bits are not enough, or might not be.
const LOCATOR: usize = 20;
const END_64: usize = 56;

/// Bytes of a member's entry in the directory, and of its own header, without names and extra fields.
const ENTRY: usize = 46;
const HEADER: usize = 30;

/// Bytes that are checked at a time.
const CHUNK: usize = 64 << 10;

/// A member: a piece of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Where its bytes begin.
    pub begin: usize,
    /// How many they are.
    pub len: usize,
    /// How many they become, if they are deflated.
    pub unpacked: Option<usize>,
    /// The CRC-32 of what they become, or 0 if PyTorch was told not to compute it.
    pub crc: u32,
}

impl Member {
    /// Its bytes, as they stand in the file.
    pub(crate) fn read(&self, file: &Bytes<'_>) -> Result<Vec<u8>, FormatError> {
        let mut bytes = vec![0; self.len];
        file.read(self.begin, &mut bytes).map(|()| bytes)
    }

    /// Whether its bytes, if they are not deflated, are those that were written.
    pub(crate) fn is_whole(&self, file: &Bytes<'_>) -> Result<bool, FormatError> {
        if self.crc == 0 {
            return Ok(true);
        }
        let (mut sum, mut chunk) = (crc32fast::Hasher::new(), vec![0; CHUNK.min(self.len)]);
        for at in (0..self.len).step_by(CHUNK) {
            let chunk = &mut chunk[..CHUNK.min(self.len - at)];
            file.read(self.begin + at, chunk)?;
            sum.update(chunk);
        }
        Ok(sum.finalize() == self.crc)
    }
}

/// The kind of file that an archive is: its error, given what is wrong.
pub(crate) type Kind = fn(String) -> FormatError;

/// The members of an archive by name.
pub(crate) struct Archive {
    members: HashMap<String, Member>,
}

impl Archive {
    /// Reads the directory of an archive and looks at each member's own header. What is wrong becomes an error of this kind.
    pub(crate) fn open(file: &Bytes<'_>, kind: Kind) -> Result<Self, FormatError> {
        let refuse = |place: &str, why: String| kind(why).within(place);
        let directory = Directory::find(file, kind)?;
        let bytes = directory.read(file)?;
        let mut members = HashMap::new();
        let mut taken = Vec::new();
        let mut rest = &bytes[..];
        for _ in 0..directory.count {
            let (entry, behind) = Entry::split(rest).map_err(|why| refuse("the directory", why))?;
            rest = behind;
            let name = std::str::from_utf8(entry.name).map_err(|e| refuse("the directory", e.to_string()))?;
            let member = entry.locate(file, directory.begin, kind).map_err(|e| e.within(name))?;
            taken.push((entry.begin, member.begin + member.len));
            if members.insert(name.to_owned(), member).is_some() {
                return Err(refuse(name, "is there twice".into()));
            }
        }
        if !rest.is_empty() {
            return Err(refuse("the directory", "is longer than its entries".into()));
        }
        taken.sort_unstable();
        if taken.windows(2).any(|pair| pair[1].0 < pair[0].1) {
            return Err(refuse("the directory", "lets two members share bytes".into()));
        }
        Ok(Self { members })
    }

    /// A member by its name.
    pub(crate) fn get(&self, name: &str) -> Option<&Member> {
        self.members.get(name)
    }

    /// Names of all members.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.keys().map(String::as_str)
    }

    /// All members with their names.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&str, &Member)> {
        self.members.iter().map(|(name, member)| (name.as_str(), member))
    }
}

/// Where the directory stands.
struct Directory {
    begin: usize,
    len: usize,
    count: usize,
}

impl Directory {
    /// Finds it by what ends the archive.
    fn find(file: &Bytes<'_>, kind: Kind) -> Result<Self, FormatError> {
        let broken = |why: &str| kind(why.into()).within("the archive's end");
        let from = file.len().saturating_sub(END + MAX_COMMENT);
        let mut tail = vec![0; file.len() - from];
        file.read(from, &mut tail)?;
        let ends = |&at: &usize| {
            tail[at..].starts_with(b"PK\x05\x06") && at + END + usize::from(u16_at(&tail, at + 20)) == tail.len()
        };
        let at = tail.len().checked_sub(END).and_then(|last| (0..=last).rev().find(ends));
        let at = at.ok_or_else(|| broken("is missing; the file has been cut, so copy or download it again"))?;
        let end = &tail[at..at + END];
        let small = [u64::from(u16_at(end, 10)), u64::from(u32_at(end, 12)), u64::from(u32_at(end, 16))];
        let parts = [u16_at(end, 4), u16_at(end, 6)];
        let mut limit = from + at;
        let mut found = small;
        let mut whole = parts == [0, 0] && u16_at(end, 8) == u16_at(end, 10);
        if let Some(begin) = limit.checked_sub(LOCATOR + END_64) {
            let mut large = [0; END_64 + LOCATOR];
            file.read(begin, &mut large)?;
            let locator = &large[END_64..];
            if locator.starts_with(b"PK\x06\x07") {
                if u64_at(locator, 8) != begin as u64 || !large.starts_with(b"PK\x06\x06") {
                    return Err(broken("does not stand where it says"));
                }
                found = [u64_at(&large, 32), u64_at(&large, 40), u64_at(&large, 48)];
                let unsaid = [u64::from(u16::MAX), u64::from(u32::MAX), u64::from(u32::MAX)];
                let agree = (0..3).all(|i| small[i] == found[i] || small[i] == unsaid[i]);
                whole = agree && u32_at(&large, 16) == 0 && u32_at(&large, 20) == 0 && u64_at(&large, 24) == found[0];
                limit = begin;
            }
        }
        if !whole {
            return Err(broken("does not agree with itself, or speaks of other files"));
        }
        let [count, len, begin] = found.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        if begin.checked_add(len) != Some(limit) {
            return Err(broken("does not follow the directory"));
        }
        if len > MAX_DIRECTORY {
            return Err(broken(&format!("speaks of a directory of {len} bytes; at most {MAX_DIRECTORY} are read")));
        }
        if count > len / ENTRY {
            return Err(broken("counts more members than the directory can name"));
        }
        Ok(Self { begin, len, count })
    }

    fn read(&self, file: &Bytes<'_>) -> Result<Vec<u8>, FormatError> {
        let mut bytes = vec![0; self.len];
        file.read(self.begin, &mut bytes).map(|()| bytes)
    }
}

/// What the directory says of a member.
struct Entry<'a> {
    name: &'a [u8],
    crc: u32,
    /// Where the member's own header begins.
    begin: usize,
    /// Bytes in the file.
    len: usize,
    /// Bytes that they become.
    unpacked: usize,
    method: u16,
}

/// Ways to keep a member: as it is, and RFC 1951.
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

impl<'a> Entry<'a> {
    /// Takes the first entry off a directory.
    fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), String> {
        let cut = || "is cut off within an entry".to_owned();
        let (fixed, rest) = bytes.split_at_checked(ENTRY).ok_or_else(cut)?;
        if !fixed.starts_with(b"PK\x01\x02") {
            return Err("holds something that is no entry".into());
        }
        let (name, rest) = rest.split_at_checked(u16_at(fixed, 28).into()).ok_or_else(cut)?;
        let (extra, rest) = rest.split_at_checked(u16_at(fixed, 30).into()).ok_or_else(cut)?;
        let (_comment, rest) = rest.split_at_checked(u16_at(fixed, 32).into()).ok_or_else(cut)?;
        if name.len() > MAX_NAME {
            return Err(format!("has a name of {} bytes; at most {MAX_NAME} are read", name.len()));
        }
        let named = String::from_utf8_lossy(name);
        if u16_at(fixed, 8) & 1 != 0 {
            return Err(format!("says that {named} is encrypted"));
        }
        let method = u16_at(fixed, 10);
        if ![STORED, DEFLATED].contains(&method) {
            return Err(format!("says that {named} is compressed in a way that is not read, number {method}"));
        }
        let mut large = Large::new(extra);
        let mut field = |at| match u32_at(fixed, at) {
            u32::MAX => large.next().ok_or_else(|| format!("lacks a number of {named}")),
            small => Ok(u64::from(small)),
        };
        let (unpacked, len, begin) = (field(24)?, field(20)?, field(42)?);
        if method == STORED && len != unpacked {
            return Err(format!("gives {named} two lengths, {unpacked} and {len}"));
        }
        if u16_at(fixed, 34) != 0 {
            return Err(format!("says that {named} is in another file"));
        }
        let [begin, len, unpacked] = [begin, len, unpacked].map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        Ok((Self { name, crc: u32_at(fixed, 16), begin, len, unpacked, method }, rest))
    }

    /// The member, by the header before its bytes; both have to end before `limit`.
    fn locate(&self, file: &Bytes<'_>, limit: usize, kind: Kind) -> Result<Member, FormatError> {
        let wrong = |why: &str| kind(why.into());
        let outside = || wrong("reaches beyond the archive's members");
        let named = self.begin.checked_add(HEADER + self.name.len()).filter(|&end| end <= limit).ok_or_else(outside)?;
        let mut header = vec![0; named - self.begin];
        file.read(self.begin, &mut header)?;
        let lengths = [(18, self.len), (22, self.unpacked)];
        // Where lengths were not known yet, they stand behind the member's bytes.
        let unsaid = u16_at(&header, 6) & 8 != 0;
        let agree = |&(at, len): &(usize, usize)| {
            let own = u32_at(&header, at);
            own == u32::MAX || own as usize == len || (unsaid && own == 0)
        };
        let names = usize::from(u16_at(&header, 26)) == self.name.len() && header[HEADER..] == *self.name;
        let kept = u16_at(&header, 8) == self.method && u16_at(&header, 6) & 1 == 0;
        if !(header.starts_with(b"PK\x03\x04") && names && kept && lengths.iter().all(agree)) {
            return Err(wrong("has a header that says something else than the directory"));
        }
        let begin = named + usize::from(u16_at(&header, 28));
        begin.checked_add(self.len).filter(|&end| end <= limit).ok_or_else(outside)?;
        let unpacked = (self.method == DEFLATED).then_some(self.unpacked);
        Ok(Member { begin, len: self.len, unpacked, crc: self.crc })
    }
}

/// Numbers of 64 bits in an entry's extra field, in the order of those that 32 bits could not say.
struct Large<'a>(&'a [u8]);

impl<'a> Large<'a> {
    fn new(mut extra: &'a [u8]) -> Self {
        while let Some((head, rest)) = extra.split_at_checked(4) {
            let Some((body, rest)) = rest.split_at_checked(u16_at(head, 2).into()) else { break };
            if u16_at(head, 0) == 1 {
                return Self(body);
            }
            extra = rest;
        }
        Self(&[])
    }

    fn next(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_at_checked(8)?;
        self.0 = rest;
        Some(u64_at(number, 0))
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
