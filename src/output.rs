//! What a command prints as its answer, on standard output. Logs go to standard error.

use std::io::{self, ErrorKind, Write as _};

/// Prints the text and a line break. A reader that has read enough, as in `… | head`, is no
/// failure.
pub fn print_line(text: &str) -> io::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}
