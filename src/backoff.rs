//! How long to wait before trying again. Never waits itself.

use std::time::Duration;

/// A wait that doubles with each failed attempt (the first is 0) up to `most`,
/// and is drawn evenly from its upper half, so that many who failed together do
/// not come back together.
pub fn backoff(attempt: u32, least: Duration, most: Duration) -> Duration {
    let full = least
        .saturating_mul(2_u32.saturating_pow(attempt))
        .min(most);
    full.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_the_most_and_never_overflows() {
        let (least, most) = (Duration::from_millis(100), Duration::from_secs(10));
        for (attempt, full) in [
            (0, 100),
            (1, 200),
            (3, 800),
            (7, 10_000),
            (31, 10_000),
            (u32::MAX, 10_000),
        ] {
            let wait = backoff(attempt, least, most).as_millis();
            assert!(
                (full / 2..=full).contains(&wait),
                "attempt {attempt}: {wait} ms"
            );
        }
    }
}
