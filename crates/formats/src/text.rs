//! Texts that come with files: what may be in them, and how they stand in a message.
//!
//! Such texts end up on terminals. A control character could begin a command to one: to hide a line, to recolour it, to retitle
//! the window.

use std::borrow::Cow;

/// The first control character of a text.
pub(crate) fn control(text: &str) -> Option<char> {
    text.chars().find(|c| c.is_control())
}

/// Refuses a text that cannot be shown as it is; `what` names it.
pub(crate) fn check(what: &str, text: &str) -> Result<(), String> {
    control(text).map_or(Ok(()), |c| {
        let code = u32::from(c);
        Err(format!(
            "{what} holds the control character U+{code:04X}, which could command a terminal; write it without"
        ))
    })
}

/// A text for a message, with control characters spelt out.
///
/// ```
/// assert_eq!(cspnet_formats::text::shown("\u{1b}[2J.jpg"), "\\u{1b}[2J.jpg");
/// ```
pub fn shown(text: &str) -> Cow<'_, str> {
    if control(text).is_none() {
        return text.into();
    }
    let spell = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    text.chars().map(spell).collect()
}

/// Longest message about a file that quotes what stands in it, in characters.
const MAX_MESSAGE: usize = 1000;

/// A message that quotes a file, with control characters spelt out, and of a long one the beginning.
pub(crate) fn told(message: &str) -> String {
    let end = message.char_indices().nth(MAX_MESSAGE).map(|(end, _)| end);
    end.map_or_else(|| shown(message).into_owned(), |end| format!("{} ...", shown(&message[..end])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_spelt_out_and_others_left() {
        assert_eq!(shown("\u{1b}[2Jchien \"é\"\n"), "\\u{1b}[2Jchien \"é\"\\n");
        assert_eq!(shown("a \\n b"), "a \\n b");
        assert_eq!(told("\u{9b}é"), "\\u{9b}é");
        assert_eq!(told(&"é".repeat(1001)), format!("{} ...", "é".repeat(1000)));
    }
}
