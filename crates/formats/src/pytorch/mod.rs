//! Files that PyTorch's `torch.save` wrote: their tensors by name.
//!
//! Such a file is a zip archive ([`crate::archive`]) of a pickle and the tensors' bytes. A pickle is a program in a small language
//! ([`machine`]), which in Python may call anything. Here nothing is called: of the classes and functions that it names
//! ([`globals`]), those that make tensors and containers are understood ([`calls`]), and all others stand for themselves. So what comes out
//! ([`heap`]) are values that refer to pieces of the file, among which the named tensors are found ([`parts`]).
//!
//! Everything is held to limits before memory is taken for it, and every tensor lies within the file. Not here: which tensor is
//! which parameter ([`crate::published`]).

mod calls;
mod globals;
mod heap;
mod machine;
mod parts;

use crate::archive::Archive;
use crate::error::FormatError;
use crate::published::part::Part;
use crate::tensors::Bytes;
use heap::Object;

/// Longest pickle that is read, in bytes; those of checkpoints have one or two hundred bytes for each tensor.
const MAX_PICKLE: usize = 32 << 20;

/// How a file begins that is a zip archive.
const BEGIN: &[u8] = b"PK\x03\x04";

/// How one begins that was written before PyTorch 1.6: a pickle of a number that stands for it.
const OLD_BEGIN: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// The form of a file of PyTorch.
pub(crate) enum Form {
    /// A zip archive.
    Today,
    /// That of before version 1.6.
    Old,
}

/// The form of a file by its first bytes; `None` if it is not one of PyTorch.
pub(crate) fn form(file: &Bytes<'_>) -> Result<Option<Form>, FormatError> {
    let mut begin = [0; OLD_BEGIN.len()];
    let begin = &mut begin[..file.len().min(OLD_BEGIN.len())];
    file.read(0, begin)?;
    Ok(match begin {
        // A safetensors file may have a header of just such a length. In an archive it is a way to compress that there is not.
        [_, _, _, _, _, _, _, _, b'{', ..] => None,
        _ if begin.starts_with(BEGIN) => Some(Form::Today),
        _ if begin.starts_with(OLD_BEGIN) => Some(Form::Old),
        _ => None,
    })
}

/// The tensors of a file, those of each dictionary in it together.
pub(crate) fn read(file: &Bytes<'_>) -> Result<Vec<Part>, FormatError> {
    let archive = stored(file)?;
    let folder = folder(&archive)?;
    check_order(file, &archive, folder)?;
    let name = format!("{folder}/data.pkl");
    let refuse = |why: String| Err(FormatError::PyTorch(why).within(&name));
    let pickle = archive.get(&name).expect("the pickle that was found");
    if pickle.len > MAX_PICKLE {
        return refuse(format!("has {} bytes; at most {MAX_PICKLE} are read", pickle.len));
    }
    if !pickle.is_whole(file)? {
        return refuse("has been damaged; copy or download the file again".into());
    }
    let code = pickle.read(file)?;
    let member = |key: &str| archive.get(&format!("{folder}/data/{key}")).copied();
    let (mut heap, value) = machine::run(&name, &code, member)?;
    match parts::find(&mut heap, value) {
        Ok(parts) if parts.is_empty() => {
            let instead = match heap.get(value) {
                Some(Object::Opaque { made_by: found, .. } | Object::Global(found)) => format!(", only `{found}`"),
                _ => String::new(),
            };
            refuse(format!(
                "holds no tensors by name{instead}; files of a network's weights come from \
                 `torch.save(network.state_dict(), FILE)`"
            ))
        }
        Ok(parts) => Ok(parts),
        Err(why) => refuse(why),
    }
}

/// The archive, if all its members are stored as they are, as PyTorch does: then nothing becomes longer than it is in the file.
fn stored(file: &Bytes<'_>) -> Result<Archive, FormatError> {
    let archive = Archive::open(file, FormatError::PyTorch)?;
    let compressed = archive.members().find(|(_, member)| member.unpacked.is_some());
    match compressed.map(|(name, _)| name.to_owned()) {
        None => Ok(archive),
        Some(name) => Err(FormatError::PyTorch(format!(
            "{name} is compressed; if this is a TorchScript program, write its weights with PyTorch: \
             `torch.save(torch.jit.load(FILE).state_dict(), NEW)`"
        ))),
    }
}

/// The folder in which PyTorch put everything.
fn folder(archive: &Archive) -> Result<&str, FormatError> {
    let refuse = |why: &str| Err(FormatError::PyTorch(why.into()));
    let mut folders = archive.names().filter_map(|n| n.strip_suffix("/data.pkl")).filter(|n| !n.contains('/'));
    let (Some(folder), None) = (folders.next(), folders.next()) else {
        return refuse("a zip archive without a `data.pkl` in its one folder, so not written by `torch.save`");
    };
    if archive.get(&format!("{folder}/constants.pkl")).is_some() {
        return refuse(
            "a TorchScript program; with PyTorch, write its weights: `torch.save(torch.jit.load(FILE).state_dict(), NEW)`",
        );
    }
    Ok(folder)
}

/// Refuses numbers whose most significant byte comes first. Old files do not say, and were written on machines like this one.
fn check_order(file: &Bytes<'_>, archive: &Archive, folder: &str) -> Result<(), FormatError> {
    let name = format!("{folder}/byteorder");
    match archive.get(&name) {
        Some(order) if order.len > 16 || order.read(file)? != b"little" => {
            Err(FormatError::PyTorch("is not `little`; on a machine that is, load the file and save it again".into())
                .within(&name))
        }
        _ => Ok(()),
    }
}
