//! The result of all runs: as a table for people, as JSON for programs, or as a page with curves.
//!
//! A [`Report`] holds everything an output may show, so that another format is another function
//! over it.

mod numbers;
mod page;
mod table;

use std::ffi::OsStr;
use std::path::Path;

use serde::Serialize;

use crate::policy::Policy;
use crate::replay::{Counts, Outcome, Setup};
use crate::synthetic::Service;
use crate::workload::Summary;
use numbers::{grouped, plural};

pub use page::page;
pub use table::table;

/// What every printed hit rate means.
const HIT_RATE: &str = "contiguous-prefix hits ÷ blocks requested";

/// What the number of requests in flight is, which is assumed and not part of a workload.
const IN_FLIGHT: &str = "requests that hold their blocks at once; another number may rank the \
                         policies otherwise";

/// What a refusal is.
const REFUSAL: &str = "a request larger than the pool; its blocks count as requested";

/// What the optimum is.
const OPTIMUM: &str = "the next use known, the farthest evicted (Belady's MIN)";

/// What the optimum is not, if there are several threads.
const OPTIMUM_OF_ONE: &str = "of one thread: several serve in another order, which may have more";

/// Where the requests come from.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Source {
    /// A synthetic service.
    Synthetic {
        /// The service.
        service: Service,
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

impl Source {
    fn title(&self) -> String {
        match self {
            Self::Synthetic { service, seed } => {
                format!("Synthetic workload {}, seed {seed}", service.name())
            }
            Self::Trace { file, .. } => {
                let name = Path::new(file).file_name();
                let name = name.map_or(file.into(), OsStr::to_string_lossy);
                format!("Trace {name}")
            }
        }
    }

    fn extent(&self, requests: usize) -> String {
        let requests = grouped(requests);
        match self {
            Self::Synthetic { .. } => format!("{requests} requests"),
            Self::Trace { span_seconds, .. } => {
                let minutes = span_seconds / 60.0;
                format!("{requests} requests over {minutes:.0} minutes")
            }
        }
    }
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

impl Config {
    fn concurrency(&self) -> String {
        let Self {
            threads, in_flight, ..
        } = *self;
        format!(
            "{threads} thread{}, {in_flight} request{} in flight",
            plural(threads),
            plural(in_flight)
        )
    }
}

/// What the requests amount to with one size of pool.
#[derive(Clone, Debug, Serialize)]
pub struct Hits {
    /// Blocks in the pool.
    pub blocks: usize,
    /// Hits per block requested, from 0 to 1.
    pub hit_rate: f64,
    /// Requests for which there was no room. The hit rate is that of all requests, these included.
    pub refusals: u64,
    /// Blocks that matched.
    pub hits: u64,
    /// Blocks of all requests.
    pub blocks_requested: u64,
    /// Blocks evicted to make room.
    pub evictions: u64,
}

impl Hits {
    /// What the counts say of a pool of `blocks` blocks.
    pub fn new(blocks: usize, counts: &Counts) -> Self {
        Self {
            blocks,
            // A workload has at least one block.
            hit_rate: counts.hits as f64 / counts.requested as f64,
            refusals: counts.refusals,
            hits: counts.hits,
            blocks_requested: counts.requested,
            evictions: counts.evictions,
        }
    }
}

/// The result of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The eviction policy.
    pub policy: Policy,
    /// What the requests amount to.
    #[serde(flatten)]
    pub hits: Hits,
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
        let seconds = outcome.elapsed.as_secs_f64();
        let quantile = |q| outcome.latency.value_at_quantile(q) as f64 / 1e3;
        Self {
            policy: setup.policy,
            hits: Hits::new(setup.blocks, &outcome.counts),
            seconds,
            million_blocks_per_second: outcome.counts.requested as f64 / seconds / 1e6,
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
    /// The offline optimum of each pool size, from one thread, or nothing if it is not wanted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub optimum: Vec<Hits>,
}

impl Report {
    /// The rows of each pool size.
    fn by_size(&self) -> impl Iterator<Item = (usize, &[Row])> {
        self.rows
            .chunk_by(|a, b| a.hits.blocks == b.hits.blocks)
            .map(|group| (group[0].hits.blocks, group))
    }

    /// The best hit rate among rows.
    fn best_of(rows: &[Row]) -> f64 {
        rows.iter().map(|row| row.hits.hit_rate).fold(0.0, f64::max)
    }

    /// Whether any request was refused in any run.
    fn has_refusals(&self) -> bool {
        let rows = self.rows.iter().map(|row| &row.hits);
        rows.chain(&self.optimum).any(|hits| hits.refusals > 0)
    }

    fn optimum_at(&self, blocks: usize) -> Option<&Hits> {
        let has_size = |optimum: &&Hits| optimum.blocks == blocks;
        self.optimum.iter().find(has_size)
    }
}

/// The report as one JSON document.
pub fn json(report: &Report) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Document<'a> {
        hit_rate_definition: &'static str,
        in_flight_definition: &'static str,
        refusal_definition: &'static str,
        #[serde(flatten)]
        report: &'a Report,
    }
    let document = Document {
        hit_rate_definition: HIT_RATE,
        in_flight_definition: IN_FLIGHT,
        refusal_definition: REFUSAL,
        report,
    };
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::named;

    /// Two policies with two sizes of pool, and numbers as long as they get.
    pub fn report() -> Report {
        let hits = |blocks, hit_rate| Hits {
            blocks,
            hit_rate,
            refusals: 99_999_999,
            hits: 123,
            blocks_requested: 999_999_999,
            evictions: 999_999_999,
        };
        let row = |policy, blocks, hit_rate| Row {
            policy,
            hits: hits(blocks, hit_rate),
            seconds: 1.0,
            million_blocks_per_second: 12.345,
            p50_us: 3.2,
            p99_us: 412.0,
            p99_9_us: 12_345.6,
        };
        Report {
            config: Config {
                source: Source::Synthetic {
                    service: Service::Chat,
                    seed: 42,
                },
                block_size: 16,
                threads: 1,
                in_flight: 16,
                policies: vec![named("lru"), named("lineage-tick")],
                blocks: vec![100, 999_999],
            },
            workload: Summary {
                requests: 10_000,
                blocks_requested: 999_999_999,
                distinct_blocks: 1_234_567,
                largest_request: 99,
            },
            rows: vec![
                row(named("lru"), 100, 0.25),
                row(named("lineage-tick"), 100, 0.125),
                row(named("lru"), 999_999, 1.0),
                row(named("lineage-tick"), 999_999, 1.0),
            ],
            optimum: vec![hits(100, 0.5), hits(999_999, 1.0)],
        }
    }

    #[test]
    fn json_has_the_configuration_and_a_row_for_each_run() {
        let document: serde_json::Value = serde_json::from_str(&json(&report()).unwrap()).unwrap();
        assert_eq!(document["config"]["source"]["kind"], "synthetic");
        assert_eq!(document["config"]["source"]["service"], "chat");
        assert_eq!(document["config"]["policies"][1], "lineage-tick");
        assert_eq!(document["workload"]["requests"], 10_000);
        assert_eq!(document["rows"].as_array().unwrap().len(), 4);
        assert_eq!(document["rows"][1]["hit_rate"], 0.125);
        assert_eq!(document["optimum"][0]["hit_rate"], 0.5);
        assert_eq!(document["optimum"][1]["blocks"], 999_999);
        assert_eq!(document["hit_rate_definition"], HIT_RATE);
        assert_eq!(document["in_flight_definition"], IN_FLIGHT);
        assert_eq!(document["config"]["in_flight"], 16);
        assert_eq!(document["rows"][0]["refusals"], 99_999_999);
    }

    #[test]
    fn json_has_no_optimum_that_was_not_wanted() {
        let mut report = report();
        report.optimum.clear();
        let document: serde_json::Value = serde_json::from_str(&json(&report).unwrap()).unwrap();
        assert_eq!(document.get("optimum"), None);
    }
}
