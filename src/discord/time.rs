//! Discord's time: asked for by one cheap call, kept between answers by a clock that nobody
//! sets, and compared with the machine's.
//!
//! The machine's wall clock stands in only where Discord tells no time at all.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::header::{AGE, DATE, HeaderMap};
use serenity::all::LightMethod;
use serenity::http::{Request, Route};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::rest::{Api, CallError, Repeat, Rest, RestError};
use crate::backoff::backoff;
use crate::error::Stop;
use crate::leveling::discord_time::{SkewNews, TimeEstimate, newest_believed, skew_news};
use crate::leveling::{MessageId, Timestamp};
use crate::xp::Clocks;

/// How often Discord is asked when nobody needs to know.
const EVERY: Duration = Duration::from_mins(10);
/// How often the machine's clock is compared.
const COMPARE_EVERY: Duration = Duration::from_secs(5);
/// For one call. An answer that took longer would say little.
const PATIENCE: Duration = Duration::from_secs(10);
/// By how much the estimate may be late: the half of a second that a date leaves open, and slow
/// answers.
const UNCERTAINTY: TimeDelta = TimeDelta::seconds(5);
const RETRY_LEAST: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(30);
const WHAT: &str = "asking Discord for the time";

/// What time it is by Discord. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct DiscordTime(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// From which the steady clock counts.
    start: Instant,
    estimate: Mutex<TimeEstimate>,
    /// When the latest call began that Discord has answered.
    answered: watch::Sender<Option<Duration>>,
    wanted: Notify,
    /// Ids that were refused.
    refused: AtomicU64,
}

impl Default for DiscordTime {
    fn default() -> Self {
        Self(Arc::new(Shared {
            start: Instant::now(),
            estimate: Mutex::default(),
            answered: watch::Sender::new(None),
            wanted: Notify::new(),
            refused: AtomicU64::new(0),
        }))
    }
}

impl DiscordTime {
    /// What time it is; by the machine's clock as long as Discord has told nothing.
    pub fn now(&self) -> DateTime<Utc> {
        let known = self.estimate().now(self.steady());
        let known = known.and_then(|now| DateTime::from_timestamp_millis(now.millis()));
        known.unwrap_or_else(Utc::now)
    }

    /// The same in milliseconds.
    pub fn timestamp(&self) -> Timestamp {
        timestamp(self.now())
    }

    /// Whether Discord has told anything; else the time is only the machine's.
    pub fn is_known(&self) -> bool {
        self.estimate().now(self.steady()).is_some()
    }

    /// Whether an id that has just arrived is believed, which is remembered: ids tell the time
    /// where Discord's answers do not.
    pub fn hear(&self, id: MessageId) -> bool {
        self.estimate().hear(id.sent_at(), self.steady());
        self.believes(id)
    }

    /// Whether an id is of the past, or at most a few minutes ahead.
    pub fn believes(&self, id: MessageId) -> bool {
        id <= newest_believed(self.timestamp())
    }

    /// Whether an id is certainly from the future: by Discord's time, and not by the machine's
    /// clock alone, which could rule out real messages. Where Discord could not be asked of late
    /// (`fresh` is false), by both: the machine may have slept, and its steady clock with it.
    pub fn rules_out(&self, id: MessageId, fresh: bool) -> bool {
        let not_by_the_machine = || id > newest_believed(timestamp(Utc::now()));
        self.is_known() && !self.believes(id) && (fresh || not_by_the_machine())
    }

    /// How long ago an id was given; `None` as long as Discord has told no time.
    pub fn age(&self, id: MessageId) -> Option<Duration> {
        let age_ms = self.timestamp().millis() - id.sent_at().millis();
        let age = Duration::from_millis(u64::try_from(age_ms).unwrap_or_default());
        self.is_known().then_some(age)
    }

    /// What time it is by Discord and by the machine; `None` as long as Discord has told nothing.
    pub fn clocks(&self) -> Option<Clocks> {
        self.is_known().then(|| Clocks {
            discord: self.timestamp(),
            machine: timestamp(Utc::now()),
        })
    }

    /// An id that is newer than all that Discord has given so far, by a few seconds at most.
    pub fn newest_id(&self) -> Option<MessageId> {
        let now = self.now() + UNCERTAINTY;
        MessageId::first_at(timestamp(now))
    }

    /// Counts an id that was refused, and says so at the 1st, 2nd, 4th, 8th …: often enough to
    /// notice, never a flood.
    pub fn refuse(&self, what: &'static str, id: MessageId) {
        let count = self.0.refused.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            let ahead_ms = id.sent_at().millis() - self.timestamp().millis();
            tracing::error!(
                what, %id, count,
                ahead = words_for(ahead_ms),
                "ignored a message or command whose id is from the future"
            );
        }
    }

    /// Asks Discord anew, and waits for the answer for at most `patience`. Whether one came.
    pub async fn ask(&self, patience: Duration) -> bool {
        let asked = self.steady();
        let mut answers = self.0.answered.subscribe();
        let answering = async {
            loop {
                self.0.wanted.notify_one();
                let answered = *answers.borrow_and_update();
                if answered.is_some_and(|began| began >= asked) {
                    return;
                }
                if answers.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::time::timeout(patience, answering).await.is_ok()
    }

    /// Asks Discord for the first time; patient while it cannot be reached.
    pub async fn find(&self, rest: &Rest) -> Result<(), Stop> {
        let began = self.steady();
        let call = |http| self.call(http);
        match rest.call_until_answered(WHAT, PATIENCE, call).await {
            Err(RestError::Revoked) => Err(Stop::TokenRefused),
            answer => {
                self.found(began, answer);
                Ok(())
            }
        }
    }

    /// The same, once: where Discord cannot be reached the machine's clock has to do.
    pub async fn look(&self, rest: &Rest) {
        let began = self.steady();
        let call = |http| self.call(http);
        let answer = rest.call(WHAT, Repeat::Safe, PATIENCE, call).await;
        self.found(began, answer);
    }

    fn found(&self, began: Duration, answer: Result<Option<(Duration, Timestamp)>, RestError>) {
        match answer {
            Ok(told) => {
                if told.is_none() {
                    tracing::warn!(
                        "Discord's answers do not say what time it is (is there a proxy that \
                         drops the Date header?); relying on the machine's clock"
                    );
                }
                self.take(began, told);
            }
            Err(error) => {
                tracing::warn!(%error, "Discord does not say what time it is; relying on the machine's clock");
            }
        }
    }

    /// When Discord answered, by the steady clock, and what time it was then.
    async fn call(&self, http: Api) -> Result<Option<(Duration, Timestamp)>, CallError> {
        let request = Request::new(Route::Gateway, LightMethod::Get);
        let answer = http.request(request).await?;
        Ok(date_of(answer.headers()).map(|date| (self.steady(), date)))
    }

    fn take(&self, began: Duration, told: Option<(Duration, Timestamp)>) {
        if let Some((at, date)) = told {
            self.estimate().tell(date, at);
        }
        self.0.answered.send_replace(Some(began));
    }

    /// How far the machine's clock is ahead, in milliseconds, where Discord's time is known.
    fn skew_ms(&self) -> Option<i64> {
        let known = self.estimate().now(self.steady())?;
        Some(timestamp(Utc::now()).millis() - known.millis())
    }

    fn steady(&self) -> Duration {
        self.0.start.elapsed()
    }

    fn estimate(&self) -> MutexGuard<'_, TimeEstimate> {
        let estimate = self.0.estimate.lock();
        estimate.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the estimate fresh, and tells the operator when the machine's clock is wrong.
#[derive(Debug)]
pub struct TimeKeeper {
    time: DiscordTime,
    rest: Rest,
}

impl TimeKeeper {
    /// Keeps this time, by asking Discord.
    pub fn new(time: DiscordTime, rest: Rest) -> Self {
        Self { time, rest }
    }

    /// Works until it is given up.
    pub async fn run(&self) {
        let mut told_ms = None;
        let mut failures = 0;
        let mut next = Instant::now() + EVERY;
        self.compare(&mut told_ms);
        loop {
            tokio::select! {
                () = self.time.0.wanted.notified() => {}
                () = tokio::time::sleep_until(next) => {}
                () = tokio::time::sleep(COMPARE_EVERY) => {
                    // A machine that has slept looks the same as a clock that was set: asked
                    // anew before anything is said of it.
                    let skew_ms = self.time.skew_ms();
                    if skew_ms.and_then(|skew_ms| skew_news(told_ms, skew_ms)).is_none() {
                        continue;
                    }
                }
            }
            let began = self.time.steady();
            let call = |http| self.time.call(http);
            match self.rest.call(WHAT, Repeat::Safe, PATIENCE, call).await {
                Ok(told) => {
                    failures = 0;
                    next = Instant::now() + EVERY;
                    self.time.take(began, told);
                    self.compare(&mut told_ms);
                }
                Err(RestError::Revoked) => return,
                Err(error) => {
                    tracing::debug!(%error, "Discord could not be asked for the time");
                    let pause = backoff(failures, RETRY_LEAST, RETRY_MOST);
                    failures += 1;
                    tokio::time::sleep(pause).await;
                    next = next.min(Instant::now() + RETRY_MOST);
                }
            }
        }
    }

    fn compare(&self, told_ms: &mut Option<i64>) {
        let Some(skew_ms) = self.time.skew_ms() else {
            return;
        };
        match skew_news(*told_ms, skew_ms) {
            None => {}
            Some(SkewNews::Right) => {
                *told_ms = None;
                tracing::info!("the machine's clock is right again");
            }
            Some(SkewNews::Off(skew_ms)) => {
                *told_ms = Some(skew_ms);
                let way = if skew_ms > 0 { "ahead of" } else { "behind" };
                tracing::warn!(
                    skew_s = skew_ms / 1_000,
                    "the machine's clock is {} {way} Discord's time: set it with NTP, for example with `timedatectl \
                     set-ntp true`; until then wall_e uses Discord's time for message ids and links",
                    words_for(skew_ms)
                );
            }
        }
    }
}

/// What time an answer says it was, in the middle of the second that it names.
fn date_of(headers: &HeaderMap) -> Option<Timestamp> {
    let text = |name| headers.get(name)?.to_str().ok();
    let date = DateTime::parse_from_rfc2822(text(DATE)?).ok()?;
    // An answer that a cache had kept for so long.
    let age: i64 = text(AGE).and_then(|age| age.parse().ok()).unwrap_or(0);
    let kept_for_ms = age.clamp(0, 86_400) * 1_000;
    Timestamp::from_millis(date.timestamp_millis() + kept_for_ms + 500)
}

fn timestamp(time: DateTime<Utc>) -> Timestamp {
    // The first millisecond of 1970 is as good as the next.
    let millis = time.timestamp_millis();
    Timestamp::from_millis(millis)
        .or(Timestamp::from_millis(1))
        .expect("one is a time")
}

/// A time span in the two largest units that it takes, to the nearest.
fn words_for(millis: i64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let seconds = millis.unsigned_abs() / 1_000;
    let nearest = match seconds {
        0..3_600 => 1,
        3_600..86_400 => 60,
        _ => 3_600,
    };
    let mut left = (seconds + nearest / 2) / nearest * nearest;
    let first = UNITS
        .iter()
        .position(|(unit, _)| left >= *unit)
        .unwrap_or(3);
    let mut words = String::new();
    for (unit, name) in UNITS.iter().skip(first).take(2) {
        let count = left / unit;
        left %= unit;
        if !words.is_empty() {
            words.push(' ');
        }
        // Writing to a string does not fail.
        let _ = write!(words, "{count} {name}");
    }
    words
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn dated(date: &str, age: Option<&str>) -> Option<i64> {
        let mut headers = HeaderMap::new();
        headers.insert(DATE, HeaderValue::from_str(date).unwrap());
        if let Some(age) = age {
            headers.insert(AGE, HeaderValue::from_str(age).unwrap());
        }
        date_of(&headers).map(Timestamp::millis)
    }

    #[test]
    fn a_date_is_read_as_http_writes_it() {
        // The example of RFC 9110.
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(dated(date, None), Some(784_111_777_500));
        assert_eq!(dated(date, Some("60")), Some(784_111_837_500));
        assert_eq!(dated(date, Some("-5")), Some(784_111_777_500));
        assert_eq!(dated(date, Some("soon")), Some(784_111_777_500));
        assert_eq!(dated("yesterday", None), None);
        assert_eq!(date_of(&HeaderMap::new()), None);
    }

    #[test]
    fn spans_are_said_in_two_units() {
        for (millis, words) in [
            (0, "0 s"),
            (59_999, "59 s"),
            (61_000, "1 min 1 s"),
            (-3 * 3_600_000, "3 h 0 min"),
            (3 * 3_600_000 - 1_000, "3 h 0 min"),
            (3_600_000 + 89_000, "1 h 1 min"),
            (365 * 86_400_000, "365 d 0 h"),
            (i64::MIN, "106751991167 d 7 h"),
        ] {
            assert_eq!(words_for(millis), words);
        }
    }

    #[tokio::test]
    async fn an_answer_to_an_earlier_call_is_not_waited_for() {
        let time = DiscordTime::default();
        let before = time.steady();
        tokio::time::sleep(Duration::from_millis(2)).await;
        let asking = time.ask(Duration::from_secs(20));
        let answering = async {
            time.0.wanted.notified().await;
            time.take(before, None);
            time.0.wanted.notified().await;
            time.take(time.steady(), None);
        };
        let (answered, ()) = tokio::join!(asking, answering);
        assert!(answered);
    }
}
