//! Computes how long to wait before a retry. Does not wait itself.

use std::time::Duration;

/// Exponential backoff with jitter: the delay starts at `min` for `attempt` 0, doubles with each
/// attempt and is capped at `max`. The result is random, between half of that delay and all of it,
/// so that callers who failed together do not retry together.
pub fn backoff(attempt: u32, min: Duration, max: Duration) -> Duration {
    let full = min.saturating_mul(2_u32.saturating_pow(attempt)).min(max);
    full.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_the_maximum_and_never_overflows() {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(10));
        for (attempt, full) in [
            (0, 100),
            (1, 200),
            (3, 800),
            (7, 10_000),
            (31, 10_000),
            (u32::MAX, 10_000),
        ] {
            let wait = backoff(attempt, min, max).as_millis();
            assert!(
                (full / 2..=full).contains(&wait),
                "attempt {attempt}: {wait} ms"
            );
        }
    }
}
