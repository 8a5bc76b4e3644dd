//! Discord's time: fetched with one cheap call, carried forward by a monotonic clock between
//! answers, and compared with the machine's wall clock.
//!
//! The machine's wall clock is only used while Discord's time is unknown.

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
use crate::backoff::Backoff;
use crate::error::Stop;
use crate::leveling::discord_time::{Clocks, SkewNews, TimeEstimate, newest_believed, skew_news};
use crate::leveling::{MessageId, Timestamp};

/// Interval between regular calls.
const POLL_INTERVAL: Duration = Duration::from_mins(10);
/// Interval between comparisons of the machine's clock with the estimate.
const COMPARE_INTERVAL: Duration = Duration::from_secs(5);
/// Timeout of one call. A slower answer would be too inaccurate to be of use.
const TIME_CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest assumed lateness of the estimate: half a second because a Date header has no
/// fractions, and the rest for slow answers.
const UNCERTAINTY: TimeDelta = TimeDelta::seconds(5);
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
const CALL_NAME: &str = "asking Discord for the time";

/// The estimate of Discord's time. Cheap to clone; all clones share it.
#[derive(Clone, Debug)]
pub struct DiscordTime(Arc<TimeShared>);

#[derive(Debug)]
struct TimeShared {
    /// The zero point of the monotonic clock.
    start: Instant,
    estimate: Mutex<TimeEstimate>,
    /// The start, by the monotonic clock, of the latest call that Discord answered.
    answered: watch::Sender<Option<Duration>>,
    wanted: Notify,
    /// The number of ids that were ignored because they are from the future.
    refused: AtomicU64,
}

impl Default for DiscordTime {
    fn default() -> Self {
        Self(Arc::new(TimeShared {
            start: Instant::now(),
            estimate: Mutex::default(),
            answered: watch::Sender::new(None),
            wanted: Notify::new(),
            refused: AtomicU64::new(0),
        }))
    }
}

impl DiscordTime {
    /// The current time; by the machine's clock while Discord's time is unknown.
    pub fn now(&self) -> DateTime<Utc> {
        let known = self.estimate().now(self.monotonic());
        let known = known.and_then(|now| DateTime::from_timestamp_millis(now.millis()));
        known.unwrap_or_else(Utc::now)
    }

    /// The current time as a [`Timestamp`], in milliseconds.
    pub fn timestamp(&self) -> Timestamp {
        timestamp(self.now())
    }

    /// Whether Discord's time is known. Otherwise the time is the machine's.
    pub fn is_known(&self) -> bool {
        self.estimate().now(self.monotonic()).is_some()
    }

    /// Takes an id that has just arrived into the estimate: where Discord's answers contain no
    /// date, ids tell the time. Returns whether the id is believed.
    pub fn hear(&self, id: MessageId) -> bool {
        self.estimate().hear(id.sent_at(), self.monotonic());
        self.believes(id)
    }

    /// Whether an id's timestamp is in the past, or at most a few minutes ahead.
    pub fn believes(&self, id: MessageId) -> bool {
        id <= newest_believed(self.timestamp())
    }

    /// Whether an id is certainly from the future. This needs Discord's time: the machine's
    /// clock alone could rule out real messages. Unless the estimate is `fresh`, both must agree,
    /// because the monotonic clock may have stood still while the machine was suspended.
    pub fn rules_out(&self, id: MessageId, fresh: bool) -> bool {
        let machine_agrees = || id > newest_believed(timestamp(Utc::now()));
        self.is_known() && !self.believes(id) && (fresh || machine_agrees())
    }

    /// The time since an id was assigned; `None` while Discord's time is unknown.
    pub fn age(&self, id: MessageId) -> Option<Duration> {
        let age_ms = self.timestamp().millis() - id.sent_at().millis();
        let age = Duration::from_millis(u64::try_from(age_ms).unwrap_or_default());
        self.is_known().then_some(age)
    }

    /// The current time by Discord and by the machine; `None` while Discord's time is unknown.
    pub fn clocks(&self) -> Option<Clocks> {
        self.is_known().then(|| Clocks {
            discord: self.timestamp(),
            machine: timestamp(Utc::now()),
        })
    }

    /// An id that is a few seconds newer than any that Discord can have assigned by now.
    pub fn newest_id(&self) -> Option<MessageId> {
        let now = self.now() + UNCERTAINTY;
        MessageId::first_at(timestamp(now))
    }

    /// Counts an ignored id, and logs the 1st, 2nd, 4th, 8th and so on, so that the log is not
    /// flooded.
    pub fn refuse(&self, what: &'static str, id: MessageId) {
        let count = self.0.refused.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            let ahead_ms = id.sent_at().millis() - self.timestamp().millis();
            tracing::error!(
                what, %id, count,
                ahead = format_span(ahead_ms),
                "ignored a message or command whose id is from the future"
            );
        }
    }

    /// Makes [`TimeKeeper`] call Discord, and waits at most `timeout` for the answer. Returns
    /// whether one came.
    pub async fn ask(&self, timeout: Duration) -> bool {
        let asked = self.monotonic();
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
        tokio::time::timeout(timeout, answering).await.is_ok()
    }

    /// Fetches Discord's time at the start; retries while Discord is unavailable.
    pub async fn find(&self, rest: &Rest) -> Result<(), Stop> {
        let began = self.monotonic();
        let call = |http| self.call(http);
        match rest
            .call_until_answered(CALL_NAME, TIME_CALL_TIMEOUT, call)
            .await
        {
            Err(RestError::Revoked) => Err(Stop::TokenRefused),
            answer => {
                self.note_answer(began, answer);
                Ok(())
            }
        }
    }

    /// Fetches Discord's time without retrying until it answers: if Discord is unavailable, the
    /// machine's clock is used.
    pub async fn look(&self, rest: &Rest) {
        let began = self.monotonic();
        let call = |http| self.call(http);
        let answer = rest
            .call(CALL_NAME, Repeat::Safe, TIME_CALL_TIMEOUT, call)
            .await;
        self.note_answer(began, answer);
    }

    fn note_answer(
        &self,
        began: Duration,
        answer: Result<Option<(Duration, Timestamp)>, RestError>,
    ) {
        match answer {
            Ok(told) => {
                if told.is_none() {
                    tracing::warn!(
                        "Discord's answers do not say what time it is (is there a proxy that \
                         drops the Date header?); relying on the machine's clock"
                    );
                }
                self.accept(began, told);
            }
            Err(error) => {
                tracing::warn!(%error, "Discord does not say what time it is; relying on the machine's clock");
            }
        }
    }

    /// Returns when Discord answered, by the monotonic clock, and the date in its answer; `None`
    /// if the answer contains no date.
    async fn call(&self, http: Api) -> Result<Option<(Duration, Timestamp)>, CallError> {
        let request = Request::new(Route::Gateway, LightMethod::Get);
        let answer = http.request(request).await?;
        Ok(date_of(answer.headers()).map(|date| (self.monotonic(), date)))
    }

    fn accept(&self, began: Duration, told: Option<(Duration, Timestamp)>) {
        if let Some((at, date)) = told {
            self.estimate().tell(date, at);
        }
        self.0.answered.send_replace(Some(began));
    }

    /// How far the machine's clock is ahead, in milliseconds; `None` while Discord's time is
    /// unknown.
    fn skew_ms(&self) -> Option<i64> {
        let known = self.estimate().now(self.monotonic())?;
        Some(timestamp(Utc::now()).millis() - known.millis())
    }

    fn monotonic(&self) -> Duration {
        self.0.start.elapsed()
    }

    fn estimate(&self) -> MutexGuard<'_, TimeEstimate> {
        let estimate = self.0.estimate.lock();
        estimate.unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that keeps the estimate fresh and warns when the machine's clock is wrong.
#[derive(Debug)]
pub struct TimeKeeper {
    time: DiscordTime,
    rest: Rest,
}

impl TimeKeeper {
    /// A task that keeps `time` fresh with calls by `rest`.
    pub fn new(time: DiscordTime, rest: Rest) -> Self {
        Self { time, rest }
    }

    /// Runs until it is dropped or Discord refuses the token.
    pub async fn run(&self) {
        let mut reported_ms = None;
        let mut attempts = BACKOFF.attempts();
        let mut next = Instant::now() + POLL_INTERVAL;
        self.compare(&mut reported_ms);
        loop {
            tokio::select! {
                () = self.time.0.wanted.notified() => {}
                () = tokio::time::sleep_until(next) => {}
                () = tokio::time::sleep(COMPARE_INTERVAL) => {
                    // A machine that was suspended looks the same as a clock that was set: so
                    // Discord is asked again before anything is logged.
                    let skew_ms = self.time.skew_ms();
                    if skew_ms.and_then(|skew_ms| skew_news(reported_ms, skew_ms)).is_none() {
                        continue;
                    }
                }
            }
            let began = self.time.monotonic();
            let call = |http| self.time.call(http);
            match self
                .rest
                .call(CALL_NAME, Repeat::Safe, TIME_CALL_TIMEOUT, call)
                .await
            {
                Ok(told) => {
                    attempts.reset();
                    next = Instant::now() + POLL_INTERVAL;
                    self.time.accept(began, told);
                    self.compare(&mut reported_ms);
                }
                Err(RestError::Revoked) => return,
                Err(error) => {
                    tracing::debug!(%error, "Discord could not be asked for the time");
                    attempts.wait().await;
                    next = next.min(Instant::now() + BACKOFF.max());
                }
            }
        }
    }

    fn compare(&self, reported_ms: &mut Option<i64>) {
        let Some(skew_ms) = self.time.skew_ms() else {
            return;
        };
        match skew_news(*reported_ms, skew_ms) {
            None => {}
            Some(SkewNews::Right) => {
                *reported_ms = None;
                tracing::info!("the machine's clock is right again");
            }
            Some(SkewNews::Off(skew_ms)) => {
                *reported_ms = Some(skew_ms);
                let way = if skew_ms > 0 { "ahead of" } else { "behind" };
                tracing::warn!(
                    skew_s = skew_ms / 1_000,
                    "the machine's clock is {} {way} Discord's time: set it with NTP, for example with `timedatectl \
                     set-ntp true`; until then wall_e uses Discord's time for message ids and links",
                    format_span(skew_ms)
                );
            }
        }
    }
}

/// The time of an answer by its Date header: the middle of the second that it names.
fn date_of(headers: &HeaderMap) -> Option<Timestamp> {
    let text = |name| headers.get(name)?.to_str().ok();
    let date = DateTime::parse_from_rfc2822(text(DATE)?).ok()?;
    // How long a cache had kept the answer.
    let age: i64 = text(AGE).and_then(|age| age.parse().ok()).unwrap_or(0);
    let kept_for_ms = age.clamp(0, 86_400) * 1_000;
    Timestamp::from_millis(date.timestamp_millis() + kept_for_ms + 500)
}

fn timestamp(time: DateTime<Utc>) -> Timestamp {
    // A time before 1970 becomes the first millisecond of 1970.
    let millis = time.timestamp_millis();
    Timestamp::from_millis(millis)
        .or(Timestamp::from_millis(1))
        .expect("one is a time")
}

/// Formats a time span in its two largest units, rounded.
fn format_span(millis: i64) -> String {
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
            assert_eq!(format_span(millis), words);
        }
    }

    #[tokio::test]
    async fn an_answer_to_an_earlier_call_is_not_waited_for() {
        let time = DiscordTime::default();
        let before = time.monotonic();
        tokio::time::sleep(Duration::from_millis(2)).await;
        let asking = time.ask(Duration::from_secs(20));
        let answering = async {
            time.0.wanted.notified().await;
            time.accept(before, None);
            time.0.wanted.notified().await;
            time.accept(time.monotonic(), None);
        };
        let (answered, ()) = tokio::join!(asking, answering);
        assert!(answered);
    }
}
