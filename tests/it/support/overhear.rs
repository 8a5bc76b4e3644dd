//! What is logged in the test's own process, by what the test itself calls.

use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use tracing::Dispatch;
use tracing::subscriber::{DefaultGuard, NoSubscriber};

/// With one subscriber, tracing asks only the subscriber of the thread that reaches a line first
/// whether the line is wanted, and keeps the answer for all threads. Another test's thread has no
/// subscriber. With two, it asks both.
static SECOND_SUBSCRIBER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::new()));

/// The lines of this thread's log, from here on to where it is dropped.
pub struct Heard {
    lines: Lines,
    _guard: DefaultGuard,
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

/// Begins to listen. The usual tests run on one thread each.
pub fn overhear() -> Heard {
    LazyLock::force(&SECOND_SUBSCRIBER);
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::INFO)
        .with_writer(move || writer.clone())
        .finish();
    Heard {
        lines,
        _guard: tracing::subscriber::set_default(subscriber),
    }
}

impl Heard {
    /// Everything so far.
    pub fn log(&self) -> String {
        let lines = self.lines.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&lines).into_owned()
    }

    /// How often this was said.
    pub fn times(&self, text: &str) -> usize {
        self.log().matches(text).count()
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.write(line)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
