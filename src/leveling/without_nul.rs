//! Texts as the database can store them.

use std::borrow::Cow;

/// The text without NUL, which no text in Postgres may contain.
///
/// The files of `store` apply it to texts from Discord and from people, unless those were checked
/// before. Otherwise one such character would make a whole batch fail, over and over.
pub fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', ""))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nul_is_left_out() {
        for (text, stored) in [("a\0b", "ab"), ("\0", ""), ("", ""), ("a\u{1}b", "a\u{1}b")] {
            assert_eq!(without_nul(text), stored);
        }
    }
}
