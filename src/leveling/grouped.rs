//! Thousands separators for numbers shown to people. Files and logs use plain numbers.

use std::fmt;

/// Displays an integer with a comma after every three digits: `12,480`.
#[derive(Clone, Copy, Debug)]
pub struct Grouped<T>(pub T);

impl<T: fmt::Display> fmt::Display for Grouped<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None if formatter.sign_plus() => ("+", &*text),
            None => ("", &*text),
        };
        formatter.write_str(sign)?;
        let first = match digits.len() % 3 {
            0 => 3.min(digits.len()),
            some => some,
        };
        let (first, mut rest) = digits.split_at(first);
        formatter.write_str(first)?;
        while !rest.is_empty() {
            let (group, after) = rest.split_at(3);
            write!(formatter, ",{group}")?;
            rest = after;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_stand_between_every_three_digits() {
        for (number, text) in [
            (0, "0"),
            (7, "7"),
            (999, "999"),
            (1_000, "1,000"),
            (-1_000, "-1,000"),
            (12_480, "12,480"),
            (100_000, "100,000"),
            (1_899_250, "1,899,250"),
            (i64::MIN, "-9,223,372,036,854,775,808"),
        ] {
            assert_eq!(Grouped(number).to_string(), text);
        }
        assert_eq!(format!("{:+}", Grouped(1_500)), "+1,500");
        assert_eq!(format!("{:+}", Grouped(-1_500)), "-1,500");
    }
}
