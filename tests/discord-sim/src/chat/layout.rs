//! Fits text to the width of a terminal, so that it is known how many rows it takes.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What a line of a box is drawn with, before its text.
const EDGE: &str = "\u{2502} ";
const RULE: char = '\u{2500}';
/// Text is never squeezed into fewer columns than this.
const LEAST_COLUMNS: usize = 4;

/// Breaks lines that are too long between words. What follows stands below the text of its
/// line, inside of the box if it is in one; rules are cut.
pub(super) fn fit(text: &str, columns: usize) -> String {
    let mut rows = Vec::new();
    for line in text.lines() {
        if line.width() <= columns {
            rows.push(line.to_owned());
        } else if line.ends_with(RULE) {
            rows.push(line.chars().take(columns).collect());
        } else {
            break_line(line, columns, &mut rows);
        }
    }
    rows.join("\n")
}

/// How many rows a fitted text takes, or one that is wider and that the terminal breaks.
pub(super) fn rows(text: &str, columns: usize) -> usize {
    let of_line = |line: &str| line.width().div_ceil(columns.max(1)).max(1);
    text.lines().map(of_line).sum()
}

fn break_line(line: &str, columns: usize, rows: &mut Vec<String>) {
    let text = line.trim_start();
    let indent = &line[..line.len() - text.len()];
    let (edge, text) = text
        .strip_prefix(EDGE)
        .map_or(("", text), |text| (EDGE, text));
    let prefix = format!("{indent}{edge}");
    let room = columns.saturating_sub(prefix.width()).max(LEAST_COLUMNS);
    let mut row = String::new();
    for word in text.split_inclusive(' ') {
        if !row.is_empty() && row.width() + word.trim_end().width() > room {
            rows.push(format!("{prefix}{row}").trim_end().to_owned());
            row.clear();
        }
        for letter in word.chars() {
            // A word that is longer than a row is broken anywhere.
            if letter != ' ' && row.width() + letter.width().unwrap_or(0) > room {
                rows.push(format!("{prefix}{row}").trim_end().to_owned());
                row.clear();
            }
            row.push(letter);
        }
    }
    rows.push(format!("{prefix}{row}").trim_end().to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_between_words() {
        assert_eq!(
            fit("alice asks for more\nshort", 10),
            "alice asks\nfor more\nshort"
        );
        assert_eq!(fit("  one two three", 9), "  one two\n  three");
        assert_eq!(fit("abcdefghijklmno", 6), "abcdef\nghijkl\nmno");
    }

    #[test]
    fn boxes_stay_boxes() {
        let boxed = "  \u{256d}\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}\n  \u{2502} one two";
        assert_eq!(
            fit(boxed, 8),
            "  \u{256d}\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}\n  \u{2502} one\n  \u{2502} two"
        );
    }

    #[test]
    fn nothing_is_wider_than_the_window_and_the_rows_are_right() {
        let text = "wall_e in #general, replying to alice:\n  \u{2502} 1 - \u{65e5}\u{672c}\u{8a9e}\u{65e5}\u{672c}\u{8a9e} and \u{1f600} words\n\n  (end)";
        for columns in 8..80 {
            let fitted = fit(text, columns);
            for line in fitted.lines() {
                assert!(line.width() <= columns, "{columns}: {line}");
            }
            assert_eq!(rows(&fitted, columns), fitted.lines().count());
        }
        assert_eq!(rows("123456", 3), 2);
        assert_eq!(rows("", 3), 0);
    }
}
