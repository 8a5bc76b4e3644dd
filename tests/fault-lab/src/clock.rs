//! The wall clock that a program sees, which can be set while it runs. Its steady clock
//! goes on as it does on a real machine, and nobody else's clock is touched.
//!
//! Done by libfaketime, which is loaded into the program and reads a file whenever the
//! program asks for the time.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Where Debian's package libfaketime puts it, below a directory of the machine's kind.
const LIBRARIES: &str = "/usr/lib";
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// A wall clock of one's own.
#[derive(Debug)]
pub struct WallClock {
    file: PathBuf,
    library: PathBuf,
}

impl WallClock {
    /// A clock that is right; it is kept in a file in `directory`.
    pub fn right(directory: &Path) -> anyhow::Result<Self> {
        let library = library().context(
            "libfaketime is missing: type sudo apt-get install libfaketime, then start this again",
        )?;
        let clock = Self {
            file: directory.join("clock"),
            library,
        };
        clock.set(0)?;
        Ok(clock)
    }

    /// Sets it to so many seconds before or after the right time.
    pub fn set(&self, offset_s: i64) -> anyhow::Result<()> {
        // Renamed into place: it may be read at any moment.
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{offset_s:+}s\n"))?;
        Ok(std::fs::rename(new, &self.file)?)
    }

    /// What a program's environment must hold to see it.
    pub fn environment(&self) -> [(&'static str, OsString); 4] {
        [
            ("LD_PRELOAD", self.library.clone().into()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.clone().into()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }
}

fn library() -> Option<PathBuf> {
    let kinds = std::fs::read_dir(LIBRARIES).ok()?;
    kinds
        .filter_map(|kind| Some(kind.ok()?.path().join(LIBRARY)))
        .find(|path| path.exists())
}
