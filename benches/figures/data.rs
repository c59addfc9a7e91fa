//! The data of the figures: `scaling`, `latency` and `serial` write it, `figures` reads it.

// Each benchmark uses some of this.
#![allow(dead_code)]

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub const THROUGHPUT: &str = "throughput.json";
pub const LATENCY: &str = "latency.json";
pub const CORES: &str = "cores.json";

/// One of the two crates.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    ThisCrate,
    Reference,
}

impl Display for Side {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ThisCrate => "this crate",
            Self::Reference => "reference",
        })
    }
}

/// The eviction policy.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    Lru,
    MultiLru,
    Hashmap,
    LineageTick,
    LineageFifo,
}

impl Display for Policy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lru => "LRU",
            Self::MultiLru => "multi-level LRU",
            Self::Hashmap => "hashmap",
            Self::LineageTick => "lineage by tick",
            Self::LineageFifo => "lineage by FIFO",
        })
    }
}

/// The operation that the threads repeat.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    MixedRequests,
    Allocate,
    MatchActive,
}

impl Display for Operation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MixedRequests => "mixed requests",
            Self::Allocate => "allocate 1 + drop",
            Self::MatchActive => "match 32 active + drop",
        })
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
}

impl Machine {
    pub fn this() -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            cpu: model.map_or("unknown processor", |(_, name)| name).into(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

impl Display for Machine {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} cores of {}", self.cores, self.cpu)
    }
}

/// The distribution of the values of several turns.
#[derive(Clone, Serialize, Deserialize)]
pub struct Spread {
    pub lowest: f64,
    pub lower_quartile: f64,
    pub median: f64,
    pub upper_quartile: f64,
    pub highest: f64,
}

impl Spread {
    /// Returns `None` if there are no values.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        let last = values.len().checked_sub(1)?;
        values.sort_by(f64::total_cmp);
        let at = |quarter: usize| (values[last * quarter / 4] * 1e3).round() / 1e3;
        Some(Self {
            lowest: at(0),
            lower_quartile: at(1),
            median: at(2),
            upper_quartile: at(3),
            highest: at(4),
        })
    }
}

/// Formats the lowest, the median, and the highest value.
impl Display for Spread {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.2} / {:.2} / {:.2}",
            self.lowest, self.median, self.highest
        )
    }
}

#[derive(Serialize, Deserialize)]
pub struct Throughput {
    pub machine: Machine,
    pub turns: usize,
    pub rows: Vec<ThroughputRow>,
}

#[derive(Serialize, Deserialize)]
pub struct ThroughputRow {
    pub operation: Operation,
    pub policy: Policy,
    pub side: Side,
    pub by_threads: Vec<Rate>,
    /// Throughput with two threads divided by that with one, in the same turn.
    pub second_thread: Spread,
    /// In each turn, what a loop that only computes gained from a second thread.
    pub machine: Spread,
    /// The one divided by the other, in the same turn.
    #[serde(default)]
    pub of_machine: Option<Spread>,
    /// Throughput with eight threads divided by that with two, in the same turn.
    #[serde(default)]
    pub eight_to_two: Option<Spread>,
    /// `second_thread` in the turns in which the machine was undisturbed, and their number.
    pub undisturbed: Option<Spread>,
    pub undisturbed_turns: usize,
}

#[derive(Serialize, Deserialize)]
pub struct Rate {
    pub threads: usize,
    pub million_blocks_per_second: Spread,
}

#[derive(Serialize, Deserialize)]
pub struct Latency {
    pub machine: Machine,
    pub requests: usize,
    pub rows: Vec<LatencyRow>,
}

#[derive(Serialize, Deserialize)]
pub struct LatencyRow {
    pub policy: Policy,
    pub threads: usize,
    pub side: Side,
    pub max_ns: u64,
    /// The time that the thread itself was running.
    #[serde(default)]
    pub running: Option<Running>,
    /// Pairs of a percentile and nanoseconds.
    pub curve: Vec<(f64, u64)>,
}

/// The distribution of the time that threads were running, in nanoseconds.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Running {
    pub p50_ns: u64,
    pub p99_ns: u64,
    pub p999_ns: u64,
    pub max_ns: u64,
}

/// What the threads repeat whose instructions are counted.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Repeated {
    Lifecycle,
    Match,
}

impl Display for Repeated {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lifecycle => "full lifecycle of 32 under eviction",
            Self::Match => "match the same 32 active blocks + drop",
        })
    }
}

/// What `serial` counts. All numbers but those of threads and locks are per block.
#[derive(Serialize, Deserialize)]
pub struct Cores {
    pub rows: Vec<CoresRow>,
}

#[derive(Serialize, Deserialize)]
pub struct CoresRow {
    pub operation: Repeated,
    pub policy: Policy,
    pub side: Side,
    pub threads: usize,
    pub instructions: f64,
    pub locks: Vec<LockRow>,
    /// Transfers of cache lines between threads while no lock is held.
    pub transfers: f64,
    /// The same for each of the lines that have the most.
    pub lines: Vec<f64>,
}

/// All locks that guard values of one type: what happens while one of them is held, and no lock has
/// been taken since. Locks with very few instructions are left out.
#[derive(Default, Serialize, Deserialize)]
pub struct LockRow {
    pub guards: String,
    pub locks: usize,
    pub instructions: f64,
    pub transfers: f64,
}

/// Returns the folder of the data and the figures.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/figures")
}

pub fn write(name: &str, data: &impl Serialize) -> Result<(), Box<dyn Error>> {
    let path = folder().join(name);
    fs::write(&path, serde_json::to_string_pretty(data)? + "\n")?;
    println!("\nwritten: {}", path.display());
    Ok(())
}

pub fn read<T: DeserializeOwned>(name: &str) -> Result<T, Box<dyn Error>> {
    let path = folder().join(name);
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(serde_json::from_str(&text)?)
}
