//! The result of all runs, as a table for people or as JSON for programs.
//!
//! A [`Report`] holds everything an output may show, so that another format is another function
//! over it.

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, Table, TableComponent};
use serde::Serialize;

use crate::policy::Policy;
use crate::replay::{Outcome, Setup};
use crate::workload::Summary;

/// What every printed hit rate means.
const HIT_RATE: &str = "contiguous-prefix hits ÷ blocks requested";

/// Where the requests come from.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Source {
    /// The synthetic chat service.
    Synthetic {
        /// Its seed.
        seed: u64,
    },
    /// A trace.
    Trace {
        /// Its file.
        file: String,
        /// The time between its first and its last arrival.
        span_seconds: f64,
    },
}

/// What was run.
#[derive(Clone, Debug, Serialize)]
pub struct Config {
    /// Where the requests come from.
    pub source: Source,
    /// Tokens per block.
    pub block_size: usize,
    /// Threads that take requests from the list.
    pub threads: usize,
    /// Requests held at once, over all threads.
    pub in_flight: usize,
    /// The eviction policies.
    pub policies: Vec<Policy>,
    /// The pool sizes.
    pub blocks: Vec<usize>,
}

/// The result of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The eviction policy.
    pub policy: Policy,
    /// Blocks in the pool.
    pub blocks: usize,
    /// Hits per block requested, from 0 to 1.
    pub hit_rate: f64,
    /// Blocks that matched.
    pub hits: u64,
    /// Blocks of all requests.
    pub blocks_requested: u64,
    /// Blocks evicted to make room.
    pub evictions: u64,
    /// Requests for which there was no room.
    pub refusals: u64,
    /// The wall time.
    pub seconds: f64,
    /// Millions of blocks requested per second of wall time.
    pub million_blocks_per_second: f64,
    /// The median latency of a request in microseconds.
    pub p50_us: f64,
    /// The 99th percentile of the latency.
    pub p99_us: f64,
    /// The 99.9th percentile of the latency.
    pub p99_9_us: f64,
}

impl Row {
    /// The row of one run.
    pub fn new(setup: &Setup, outcome: &Outcome) -> Self {
        let counts = &outcome.counts;
        let seconds = outcome.elapsed.as_secs_f64();
        let quantile = |q| outcome.latency.value_at_quantile(q) as f64 / 1e3;
        Self {
            policy: setup.policy,
            blocks: setup.blocks,
            // A workload has at least one block.
            hit_rate: counts.hits as f64 / counts.requested as f64,
            hits: counts.hits,
            blocks_requested: counts.requested,
            evictions: counts.evictions,
            refusals: counts.refusals,
            seconds,
            million_blocks_per_second: counts.requested as f64 / seconds / 1e6,
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            p99_9_us: quantile(0.999),
        }
    }
}

/// The result of all runs.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was run.
    pub config: Config,
    /// What the requests amount to.
    pub workload: Summary,
    /// One row for each run, those of one pool size together.
    pub rows: Vec<Row>,
}

/// The report as one JSON document.
pub fn json(report: &Report) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Document<'a> {
        hit_rate_definition: &'static str,
        #[serde(flatten)]
        report: &'a Report,
    }
    let document = Document {
        hit_rate_definition: HIT_RATE,
        report,
    };
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    Ok(text)
}

/// The report as a table, which fits 80 columns.
///
/// With `styled`, the best hit rate of each pool size is bold.
pub fn table(report: &Report, styled: bool) -> String {
    let mut table = Table::new();
    table
        .load_preset(NOTHING)
        .set_style(TableComponent::HeaderLines, '─')
        .set_header([
            "policy",
            "blocks",
            "hit\nrate",
            "evictions",
            "refusals",
            "million\nblocks/s",
            "p50\nµs",
            "p99\nµs",
            "p99.9\nµs",
        ]);
    if styled {
        table.enforce_styling();
    }
    for group in report.rows.chunk_by(|a, b| a.blocks == b.blocks) {
        if !table.is_empty() {
            table.add_row([""]);
        }
        let best = group.iter().map(|row| row.hit_rate).fold(0.0, f64::max);
        for row in group {
            table.add_row(cells(row, styled && row.hit_rate == best));
        }
    }
    let last = table.column_count() - 1;
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if index == last { 0 } else { 2 }));
        if index > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    // Without borders, the rows would end in spaces.
    let rows = table.trim_fmt();
    format!(
        "{}\n\n{rows}\n\nhit rate = {HIT_RATE}\np50, p99, p99.9 = latency of a request\n",
        heading(report)
    )
}

fn cells(row: &Row, best: bool) -> Vec<Cell> {
    let hit_rate = Cell::new(format!("{:.2}%", row.hit_rate * 100.0));
    vec![
        Cell::new(row.policy),
        Cell::new(row.blocks),
        if best {
            hit_rate.add_attribute(Attribute::Bold)
        } else {
            hit_rate
        },
        Cell::new(row.evictions),
        Cell::new(row.refusals),
        Cell::new(three_digits(row.million_blocks_per_second)),
        Cell::new(three_digits(row.p50_us)),
        Cell::new(three_digits(row.p99_us)),
        Cell::new(three_digits(row.p99_9_us)),
    ]
}

/// What was run, in three lines.
fn heading(report: &Report) -> String {
    let Config {
        source,
        block_size,
        threads,
        in_flight,
        ..
    } = &report.config;
    let Summary {
        requests,
        blocks_requested,
        distinct_blocks,
        ..
    } = report.workload;
    let requests = grouped(requests);
    let source = match source {
        Source::Synthetic { seed } => format!("Synthetic chat, seed {seed}: {requests} requests"),
        Source::Trace { file, span_seconds } => {
            let minutes = span_seconds / 60.0;
            format!("Trace {file}: {requests} requests over {minutes:.0} minutes")
        }
    };
    format!(
        "{source}\n\
         {} blocks of {block_size} tokens requested, {} of them distinct\n\
         {threads} thread{}, {in_flight} request{} in flight",
        grouped(blocks_requested),
        grouped(distinct_blocks),
        plural(*threads),
        plural(*in_flight),
    )
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// A number with at least three significant digits and no more decimals than that takes.
fn three_digits(x: f64) -> String {
    let decimals = match x {
        x if x < 9.995 => 2,
        x if x < 99.95 => 1,
        _ => 0,
    };
    format!("{x:.decimals$}")
}

/// A number with a comma before each three digits.
fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let row = |policy, blocks, hit_rate| Row {
            policy,
            blocks,
            hit_rate,
            hits: 123,
            blocks_requested: 999_999_999,
            evictions: 999_999_999,
            refusals: 99_999_999,
            seconds: 1.0,
            million_blocks_per_second: 12.345,
            p50_us: 3.2,
            p99_us: 412.0,
            p99_9_us: 12_345.6,
        };
        Report {
            config: Config {
                source: Source::Synthetic { seed: 42 },
                block_size: 16,
                threads: 1,
                in_flight: 16,
                policies: vec![Policy::Lru, Policy::LineageTick],
                blocks: vec![100, 999_999],
            },
            workload: Summary {
                requests: 10_000,
                blocks_requested: 999_999_999,
                distinct_blocks: 1_234_567,
                largest_request: 99,
            },
            rows: vec![
                row(Policy::Lru, 100, 0.25),
                row(Policy::LineageTick, 100, 0.125),
                row(Policy::Lru, 999_999, 1.0),
                row(Policy::LineageTick, 999_999, 1.0),
            ],
        }
    }

    #[test]
    fn the_table_fits_80_columns() {
        let text = table(&report(), false);
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        let rows = text.lines().filter(|line| line.starts_with("lineage-tick"));
        assert_eq!(rows.count(), 2);
        assert!(text.contains(HIT_RATE));
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn the_best_hit_rate_of_a_size_is_bold() {
        let text = table(&report(), true);
        let bold = |line: &&str| line.contains("\u{1b}[1m");
        assert_eq!(text.lines().filter(bold).count(), 3);
    }

    #[test]
    fn json_has_the_configuration_and_a_row_for_each_run() {
        let document: serde_json::Value = serde_json::from_str(&json(&report()).unwrap()).unwrap();
        assert_eq!(document["config"]["source"]["kind"], "synthetic");
        assert_eq!(document["config"]["policies"][1], "lineage-tick");
        assert_eq!(document["workload"]["requests"], 10_000);
        assert_eq!(document["rows"].as_array().unwrap().len(), 4);
        assert_eq!(document["rows"][1]["hit_rate"], 0.125);
        assert_eq!(document["hit_rate_definition"], HIT_RATE);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(three_digits(0.0), "0.00");
        assert_eq!(three_digits(9.996), "10.0");
        assert_eq!(three_digits(99.96), "100");
        assert_eq!(three_digits(12_345.6), "12346");
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(123), "123");
    }
}
