//! The result of all runs: as a table for people, as JSON for programs, or as a page with charts.
//!
//! A [`Report`] contains everything that any format shows, so a new format is one more function of
//! it.

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

/// The definition of every hit rate that is shown.
const HIT_RATE: &str = "contiguous-prefix hits ÷ blocks requested";

/// The definition of the number of requests in flight, which is an assumption and not part of a
/// workload.
const IN_FLIGHT: &str = "requests that hold their blocks at the same time; a different limit may \
                         rank the policies differently";

/// The definition of a refusal.
const REFUSAL: &str = "a request larger than the pool; its blocks count as requested";

/// The definition of the optimum.
const OPTIMUM: &str = "evicts the block whose next use is farthest away (Belady's MIN)";

/// The limitation of the optimum if there are several threads.
const OPTIMUM_OF_ONE: &str = "for one thread; several serve in another order and may exceed it";

/// The origin of the requests.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Source {
    /// A synthetic workload.
    Synthetic {
        /// The service that generated it.
        service: Service,
        /// The seed.
        seed: u64,
    },
    /// A trace file.
    Trace {
        /// The path.
        file: String,
        /// The time between the first and the last arrival, in seconds.
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

/// The configuration of all runs.
#[derive(Clone, Debug, Serialize)]
pub struct Config {
    /// The origin of the requests.
    pub source: Source,
    /// The number of tokens per block.
    pub block_size: usize,
    /// The number of threads that take requests from the list.
    pub threads: usize,
    /// Whether they handle the requests one at a time, in the order of the list.
    pub takes_turns: bool,
    /// The number of requests, over all threads, that may be in flight.
    pub in_flight: usize,
    /// The half-life that LRFU was given, in releases.
    pub lrfu_half_life: Option<u32>,
    /// The eviction policies, in the order in which they were run.
    pub policies: Vec<Policy>,
    /// The pool sizes, in blocks.
    pub blocks: Vec<usize>,
}

impl Config {
    fn conditions(&self) -> String {
        let Self {
            threads, in_flight, ..
        } = *self;
        let turns = match self.takes_turns {
            true => " taking turns",
            false => "",
        };
        let half_life = self
            .lrfu_half_life
            .map(|releases| format!(", LRFU's half-life {releases} releases"));
        format!(
            "{threads} thread{}{turns}, {in_flight} request{} in flight{}",
            plural(threads),
            plural(in_flight),
            half_life.unwrap_or_default()
        )
    }
}

/// The counts of a run, with the pool size they belong to.
#[derive(Clone, Debug, Serialize)]
pub struct Hits {
    /// The number of blocks in the pool.
    pub blocks: usize,
    /// The fraction of requested blocks that were hits, from 0 to 1.
    pub hit_rate: f64,
    /// Requests that did not fit into the pool. Their blocks are included in the hit rate.
    pub refusals: u64,
    /// Requested blocks that matched.
    pub hits: u64,
    /// Blocks requested.
    pub blocks_requested: u64,
    /// Blocks evicted to make room.
    pub evictions: u64,
}

impl Hits {
    /// Creates the counts of a pool with `blocks` blocks.
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
    /// The counts, and the pool size.
    #[serde(flatten)]
    pub hits: Hits,
    /// The wall time, in seconds.
    pub seconds: f64,
    /// Millions of requested blocks per second of wall time.
    pub million_blocks_per_second: f64,
    /// The median latency of a request, in microseconds.
    pub p50_us: f64,
    /// The 99th percentile of the latency, in microseconds.
    pub p99_us: f64,
    /// The 99.9th percentile of the latency, in microseconds.
    pub p99_9_us: f64,
}

impl Row {
    /// Creates the row of a run.
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
    /// The configuration of all runs.
    pub config: Config,
    /// The size of the workload.
    pub workload: Summary,
    /// One row per run, grouped by pool size.
    pub rows: Vec<Row>,
    /// The offline optimum for each pool size, computed for one thread. Empty if not requested.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub optimum: Vec<Hits>,
}

impl Report {
    /// Returns the rows of each pool size.
    fn by_size(&self) -> impl Iterator<Item = (usize, &[Row])> {
        self.rows
            .chunk_by(|a, b| a.hits.blocks == b.hits.blocks)
            .map(|group| (group[0].hits.blocks, group))
    }

    /// Returns the best hit rate among `rows`.
    fn best_of(rows: &[Row]) -> f64 {
        rows.iter().map(|row| row.hits.hit_rate).fold(0.0, f64::max)
    }

    /// Returns whether any request was refused in any run.
    fn has_refusals(&self) -> bool {
        let rows = self.rows.iter().map(|row| &row.hits);
        rows.chain(&self.optimum).any(|hits| hits.refusals > 0)
    }

    fn optimum_at(&self, blocks: usize) -> Option<&Hits> {
        let has_size = |optimum: &&Hits| optimum.blocks == blocks;
        self.optimum.iter().find(has_size)
    }
}

/// Formats the report as a JSON document.
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

    /// Returns a report with two policies, two pool sizes, and numbers of maximum length.
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
                takes_turns: false,
                in_flight: 16,
                lrfu_half_life: None,
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
