//! Prints a command's result to standard output. Logs go to standard error.

use std::io::{self, ErrorKind, Write as _};

/// Prints the text and a line break. A closed pipe, as in `… | head`, is not an error.
pub fn print_line(text: &str) -> io::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}
