//! The table that is printed, and the lines of progress before it.
//!
//! Standard output holds the table and nothing else.

use std::io::Write as _;

use crate::measure::Pair;

/// One figure and its reference.
#[derive(Debug)]
pub struct Row {
    what: String,
    ours: String,
    reference: String,
    ratio: String,
    aim: String,
    reference_is: String,
}

/// What a figure counts.
#[derive(Clone, Copy, Debug)]
pub enum Unit {
    /// Things a second.
    PerSecond,
    /// Nanoseconds.
    Nanoseconds,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// How often something is done.
    Times,
}

impl Unit {
    fn format(self, value: f64) -> String {
        match self {
            Self::PerSecond => format!("{}/s", thousands(value)),
            Self::Nanoseconds if value < 100.0 => format!("{value:.1} ns"),
            Self::Nanoseconds => format!("{} ns", thousands(value)),
            Self::Seconds => format!("{value:.2} s"),
            Self::Bytes => format!("{value:.0} B"),
            Self::Times => thousands(value),
        }
    }
}

impl Row {
    /// A figure and its reference, both in this unit.
    pub fn new(what: impl Into<String>, unit: Unit, pair: Pair, reference_is: &str) -> Self {
        Self {
            what: what.into(),
            ours: unit.format(pair.ours),
            reference: unit.format(pair.reference),
            ratio: format!("{:.2}", pair.ratio),
            aim: String::new(),
            reference_is: reference_is.to_owned(),
        }
    }

    /// What the project has set itself.
    #[must_use]
    pub fn aim(mut self, aim: &str) -> Self {
        aim.clone_into(&mut self.aim);
        self
    }

    fn cells(&self) -> [&str; 6] {
        [
            &self.what,
            &self.ours,
            &self.reference,
            &self.ratio,
            &self.aim,
            &self.reference_is,
        ]
    }
}

/// All rows.
#[derive(Debug, Default)]
pub struct Table(Vec<Row>);

impl Table {
    /// Adds rows below.
    pub fn extend(&mut self, rows: Vec<Row>) {
        self.0.extend(rows);
    }

    /// Writes it to standard output.
    pub fn print(&self) -> anyhow::Result<()> {
        let head = [
            "what",
            "wall_e",
            "reference",
            "ratio",
            "aim",
            "reference is",
        ];
        let lines: Vec<_> = std::iter::once(head)
            .chain(self.0.iter().map(Row::cells))
            .collect();
        let width = |column: usize| {
            let cells = lines.iter().map(|line| line[column].chars().count());
            cells.max().unwrap_or_default()
        };
        let [what, ours, reference, ratio, aim] = [0, 1, 2, 3, 4].map(width);
        let mut out = std::io::stdout().lock();
        for line in &lines {
            writeln!(
                out,
                "{:what$}  {:>ours$}  {:>reference$}  {:>ratio$}  {:<aim$}  {}",
                line[0], line[1], line[2], line[3], line[4], line[5]
            )?;
        }
        Ok(out.flush()?)
    }
}

/// Says what is going on.
pub fn progress(text: &str) {
    // Nobody may be listening.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A whole number, with a comma after every three digits.
pub fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_as_people_write_them() {
        for (unit, value, text) in [
            (Unit::PerSecond, 1_234_567.8, "1,234,568/s"),
            (Unit::PerSecond, 999.0, "999/s"),
            (Unit::Nanoseconds, 1.26, "1.3 ns"),
            (Unit::Nanoseconds, 1_260.0, "1,260 ns"),
            (Unit::Seconds, 1.257, "1.26 s"),
            (Unit::Bytes, 113.4, "113 B"),
        ] {
            assert_eq!(unit.format(value), text);
        }
    }
}
