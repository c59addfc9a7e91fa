//! What has been measured, as tables in Markdown.

use std::collections::HashMap;

use crate::meter::Bound;
use crate::runner::{Cost, Row};
use crate::scenes::Side;

/// How many times as dear a call may be in the largest pool as in the smallest.
const MAX_GROWTH: f64 = 2.0;

/// The instructions of a call that is too cheap for its growth to matter: what grows that far may be
/// a few more loads, or another path.
const CHEAP: u64 = 1_000;

/// An operation with a policy, and its state.
type Key = (String, String, String);

pub struct Report {
    sizes: Vec<usize>,
    /// In the order in which they were measured.
    keys: Vec<Key>,
    lines: HashMap<Key, Line>,
}

#[derive(Clone)]
struct Line {
    bound: Bound,
    /// By size.
    ours: Vec<Costs>,
    reference: Vec<Costs>,
}

#[derive(Clone, Copy)]
struct Costs {
    instructions: Cost,
    nanoseconds: Cost,
}

impl Line {
    fn growth(costs: &[Costs]) -> Option<f64> {
        let (first, last) = (costs.first()?, costs.last()?);
        let worst = |costs: &Costs| costs.instructions.worst.max(1) as f64;
        Some(worst(last) / worst(first))
    }

    fn fails(&self) -> bool {
        let dearest = self.ours.iter().map(|costs| costs.instructions.worst).max();
        self.bound == Bound::Constant
            && dearest >= Some(CHEAP)
            && Self::growth(&self.ours).is_some_and(|growth| growth > MAX_GROWTH)
    }

    /// Takes over what is dearer in `other`.
    fn merge(&mut self, other: &Self) {
        for (costs, others) in [
            (&mut self.ours, &other.ours),
            (&mut self.reference, &other.reference),
        ] {
            for (at, other) in others.iter().enumerate() {
                match costs.get_mut(at) {
                    None => costs.push(*other),
                    Some(cost) => cost.merge(*other),
                }
            }
        }
    }
}

impl Costs {
    fn merge(&mut self, other: Self) {
        if self.instructions.worst < other.instructions.worst {
            self.instructions = other.instructions;
        }
        if self.nanoseconds.worst < other.nanoseconds.worst {
            self.nanoseconds = other.nanoseconds;
        }
    }
}

impl Report {
    pub fn new(sizes: &[usize]) -> Self {
        Self {
            sizes: sizes.to_vec(),
            keys: Vec::new(),
            lines: HashMap::new(),
        }
    }

    /// Adds the rows of a scene with the `at`th size.
    pub fn add(&mut self, policy: &str, side: Side, at: usize, rows: Vec<Row>) {
        for row in rows {
            let key = (row.operation, policy.to_owned(), row.state);
            let line = self.lines.entry(key.clone()).or_insert_with(|| {
                self.keys.push(key);
                Line {
                    bound: row.bound,
                    ours: Vec::new(),
                    reference: Vec::new(),
                }
            });
            let costs = match side {
                Side::Ours => &mut line.ours,
                Side::Reference => &mut line.reference,
            };
            let new = Costs {
                instructions: row.instructions,
                nanoseconds: row.nanoseconds,
            };
            if costs.len() == at {
                costs.push(new);
            } else if let Some(costs) = costs.get_mut(at) {
                // Another scene has the same operation in the same state.
                costs.merge(new);
            }
        }
    }

    /// Returns the median of an operation in its ordinary state, in the largest pool.
    fn median(&self, (operation, policy, _): &Key) -> Option<u64> {
        let mut keys = self.keys.iter();
        let ordinary = keys.find(|key| key.0 == *operation && key.1 == *policy)?;
        Some(self.lines[ordinary].ours.last()?.instructions.median)
    }

    /// Returns the dearest calls of each operation and policy, in any state, with the state that is
    /// the dearest in the largest pool.
    fn dearest(&self) -> Vec<(Key, Line)> {
        let worst = |line: &Line| line.ours.last().map(|costs| costs.instructions.worst);
        let mut dearest: Vec<(Key, Line)> = Vec::new();
        for key in &self.keys {
            let line = &self.lines[key];
            let same = |other: &&mut (Key, Line)| other.0.0 == key.0 && other.0.1 == key.1;
            match dearest.iter_mut().find(same) {
                Some((other, sum)) => {
                    if worst(sum) < worst(line) {
                        other.2.clone_from(&key.2);
                    }
                    sum.merge(line);
                }
                None => dearest.push((key.clone(), line.clone())),
            }
        }
        let first = |name: &str| dearest.iter().position(|(key, _)| key.0 == name);
        let order: HashMap<String, usize> = dearest
            .iter()
            .filter_map(|(key, _)| Some((key.0.clone(), first(&key.0)?)))
            .collect();
        dearest.sort_by_key(|(key, _)| order[&key.0]);
        dearest
    }

    /// Prints every row.
    pub fn print_rows(&self) {
        self.print(self.keys.iter().map(|key| (key, &self.lines[key])));
    }

    /// Prints the dearest calls of each operation and policy.
    pub fn print_summary(&self) {
        let dearest = self.dearest();
        self.print(dearest.iter().map(|(key, line)| (key, line)));
    }

    fn print<'a>(&'a self, lines: impl Iterator<Item = (&'a Key, &'a Line)>) {
        let mut header = String::from("| operation | policy | dearest when |");
        let mut rule = String::from("|---|---|---|");
        for &size in &self.sizes {
            header.push_str(&format!(" {} |", grouped(size as u64)));
            rule.push_str("---:|");
        }
        header.push_str(" growth | ÷ median | µs | reference | growth | µs |");
        rule.push_str("---:|---:|---:|---:|---:|---:|");
        println!("{header}\n{rule}");
        for (key, line) in lines {
            let mut cells = format!("| {} | {} | {} |", key.0, key.1, key.2);
            for at in 0..self.sizes.len() {
                let worst = line.ours.get(at).map(|costs| costs.instructions.worst);
                cells.push_str(&format!(" {} |", worst.map(grouped).unwrap_or_default()));
            }
            let growth = Line::growth(&line.ours);
            let last = line.ours.last();
            let over_median = last
                .zip(self.median(key))
                .map(|(costs, median)| costs.instructions.worst as f64 / median.max(1) as f64);
            let microseconds = |costs: Option<&Costs>| {
                let worst = costs.map(|costs| costs.nanoseconds.worst as f64 / 1e3);
                worst.map(|worst| format!("{worst:.1}")).unwrap_or_default()
            };
            let theirs = line.reference.last();
            cells.push_str(&format!(
                " {} | {} | {} | {} | {} | {} |",
                ratio(growth),
                ratio(over_median),
                microseconds(last),
                theirs
                    .map(|costs| grouped(costs.instructions.worst))
                    .unwrap_or_default(),
                ratio(Line::growth(&line.reference)),
                microseconds(theirs),
            ));
            println!("{cells}");
        }
    }

    /// Prints the operations that fail. Returns whether there are any.
    pub fn print_failures(&self) -> bool {
        let mut any = false;
        for (key, line) in self.dearest() {
            if !line.fails() {
                continue;
            }
            any = true;
            let (first, last) = (line.ours[0], line.ours[line.ours.len() - 1]);
            eprintln!(
                "FAILED: {} | {} | {}: grows from {} to {} instructions (call {}), × {}",
                key.0,
                key.1,
                key.2,
                grouped(first.instructions.worst),
                grouped(last.instructions.worst),
                last.instructions.at,
                ratio(Line::growth(&line.ours)),
            );
        }
        any
    }
}

fn ratio(ratio: Option<f64>) -> String {
    match ratio {
        None => String::new(),
        Some(ratio) if ratio < 10.0 => format!("{ratio:.1}"),
        Some(ratio) => format!("{ratio:.0}"),
    }
}

/// Writes a number with a comma before every three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
