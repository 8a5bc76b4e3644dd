//! How much of the processors a process has used, from /proc.

use std::collections::BTreeMap;
use std::time::Duration;

/// How often Linux counts a second, for everyone who reads /proc.
const TICKS: u32 = 100;

/// What one process has used; `None` where that cannot be seen.
pub fn of_process(process: u32) -> Option<Duration> {
    Some(read(process)?.own)
}

/// What a Postgres server and all of its processes have used, but for the session that asks;
/// `None` where the server runs elsewhere. `session` is the process of that session.
pub fn of_postgres(session: u32) -> Option<Duration> {
    let server = read(session)?.parent;
    let mut used = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").ok()? {
        let name = entry.ok()?.file_name();
        let Some(process) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // It may have ended since.
        if let Some(usage) = read(process)
            && process != session
        {
            if process == server {
                used.insert(process, usage.own + usage.of_ended_children);
            } else if usage.parent == server {
                used.insert(process, usage.own);
            }
        }
    }
    used.contains_key(&server).then(|| used.into_values().sum())
}

struct Usage {
    parent: u32,
    own: Duration,
    of_ended_children: Duration,
}

fn read(process: u32) -> Option<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is a name in parentheses, and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let time = |user: usize| {
        let ticks: u32 = fields.get(user)?.parse().ok()?;
        let system: u32 = fields.get(user + 1)?.parse().ok()?;
        Some(Duration::from_secs(1) / TICKS * (ticks + system))
    };
    Some(Usage {
        parent: fields.get(1)?.parse().ok()?,
        own: time(11)?,
        of_ended_children: time(13)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_something_and_its_parent_is_known() {
        let me = std::process::id();
        let started = std::time::Instant::now();
        while of_process(me).is_some_and(|used| used.is_zero()) {
            assert!(started.elapsed() < Duration::from_mins(1));
        }
        assert_eq!(
            read(me).map(|usage| usage.parent),
            Some(std::os::unix::process::parent_id())
        );
        assert_eq!(of_process(u32::MAX), None);
    }
}
