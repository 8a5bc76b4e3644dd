//! Signals to other processes, sent by a system call: a minimal machine has no `kill` program.

use anyhow::Context as _;
use rustix::process::{Pid, kill_process};

pub use rustix::process::Signal;

/// Sends `signal` to the process with this id, which must still exist.
pub fn send_signal(process: u32, signal: Signal) -> anyhow::Result<()> {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    let pid = pid.with_context(|| format!("{process} is no process id"))?;
    kill_process(pid, signal)
        .with_context(|| format!("the signal {signal:?} could not be sent to process {process}"))
}
