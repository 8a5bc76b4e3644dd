//! The table that is printed, and the lines of progress before it.
//!
//! Standard output holds the table and nothing else.

use std::io::Write as _;

use crate::aims::{Aim, Judge};
use crate::measure::Pair;

/// One figure and its reference.
#[derive(Debug)]
pub struct Row {
    what: String,
    ours: String,
    reference: String,
    ratio: String,
    cpu: String,
    pair: Pair,
    aim: Option<(Aim, String)>,
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
    /// Bytes, shown in millions.
    Megabytes,
    /// How often something is done.
    Times,
}

impl Unit {
    /// A value of this unit, as people read it.
    pub fn format(self, value: f64) -> String {
        match self {
            Self::PerSecond => format!("{}/s", thousands(value)),
            Self::Nanoseconds if value < 100.0 => format!("{value:.1} ns"),
            Self::Nanoseconds => format!("{} ns", thousands(value)),
            Self::Seconds => format!("{value:.2} s"),
            Self::Bytes => format!("{value:.0} B"),
            Self::Megabytes => format!("{:.1} MB", value / 1e6),
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
            cpu: String::new(),
            pair,
            aim: None,
            reference_is: reference_is.to_owned(),
        }
    }

    /// What the project has set itself.
    #[must_use]
    pub fn aim(mut self, aim: Aim) -> Self {
        self.aim = Some((aim, aim.to_string()));
        self
    }

    /// What it takes of the processors.
    #[must_use]
    pub fn cpu(mut self, cpu: String) -> Self {
        self.cpu = cpu;
        self
    }

    fn missed(&self, judge: Judge) -> Option<String> {
        let (aim, _) = self.aim.as_ref()?;
        let missed = aim.missed(&self.pair, judge)?;
        Some(format!("{}: {missed}", self.what))
    }

    fn cells(&self) -> [&str; 7] {
        [
            &self.what,
            &self.ours,
            &self.reference,
            &self.ratio,
            self.aim.as_ref().map_or("", |(_, text)| text),
            &self.cpu,
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

    /// Which aims were missed, and by how much.
    pub fn missed(&self, judge: Judge) -> Vec<String> {
        self.0.iter().filter_map(|row| row.missed(judge)).collect()
    }

    /// Writes it to standard output.
    pub fn print(&self) -> anyhow::Result<()> {
        let head = [
            "what",
            "wall_e",
            "reference",
            "ratio",
            "aim",
            "CPU a message",
            "reference is",
        ];
        let lines: Vec<_> = std::iter::once(head)
            .chain(self.0.iter().map(Row::cells))
            .collect();
        let width = |column: usize| {
            let cells = lines.iter().map(|line| line[column].chars().count());
            cells.max().unwrap_or_default()
        };
        let [what, ours, reference, ratio, aim, mut cpu] = [0, 1, 2, 3, 4, 5].map(width);
        // Only `load` has any.
        let no_cpu = self.0.iter().all(|row| row.cpu.is_empty());
        if no_cpu {
            cpu = 0;
        }
        let mut out = std::io::stdout().lock();
        for line in &lines {
            write!(
                out,
                "{:what$}  {:>ours$}  {:>reference$}  {:>ratio$}  {:<aim$}  ",
                line[0], line[1], line[2], line[3], line[4]
            )?;
            if !no_cpu {
                write!(out, "{:<cpu$}  ", line[5])?;
            }
            writeln!(out, "{}", line[6])?;
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
