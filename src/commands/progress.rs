//! When the answer to a long command is edited to show progress: less and less often, and no more
//! after 15 minutes. Discord allows few edits of messages older than an hour, and an interaction's
//! token works for 15 minutes.

use std::time::{Duration, Instant};

const INTERVAL_MIN: Duration = Duration::from_secs(3);
const INTERVAL_MAX: Duration = Duration::from_mins(2);
const EDITED_FOR: Duration = Duration::from_mins(15);

/// Decides when an answer is edited again.
#[derive(Debug)]
pub(super) struct ProgressPace {
    started: Instant,
    last: Instant,
}

impl ProgressPace {
    /// For an answer that was sent now.
    pub fn start() -> Self {
        let now = Instant::now();
        Self {
            started: now,
            last: now,
        }
    }

    /// Waits until the next edit. Never returns once the answer is too old.
    pub async fn wait(&self) {
        match interval(self.last - self.started) {
            Some(interval) => tokio::time::sleep_until((self.last + interval).into()).await,
            None => std::future::pending().await,
        }
    }

    /// Whether it is time for the next edit.
    pub fn is_due(&self) -> bool {
        let interval = interval(self.last - self.started);
        interval.is_some_and(|interval| self.last.elapsed() >= interval)
    }

    /// Records that an edit was tried, whether Discord accepted it or not.
    pub fn edited(&mut self) {
        self.last = Instant::now();
    }
}

/// The time until the next edit of an answer of this age; `None` if there is none.
fn interval(age: Duration) -> Option<Duration> {
    let interval = (age / 2).clamp(INTERVAL_MIN, INTERVAL_MAX);
    (age + interval <= EDITED_FOR).then_some(interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_edited_less_and_less_often_and_not_after_15_minutes() {
        let mut edits = Vec::new();
        let mut age = Duration::ZERO;
        while let Some(interval) = interval(age) {
            age += interval;
            edits.push(age.as_secs());
        }
        assert_eq!(
            edits,
            [
                3, 6, 9, 13, 20, 30, 45, 68, 102, 153, 230, 345, 465, 585, 705, 825
            ]
        );
        assert_eq!(interval(Duration::from_hours(2)), None);
    }
}
