//! The command line.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::RangedU64ValueParser;
use clap::{CommandFactory, Parser};

use crate::policy::Policy;
use crate::synthetic::Service;
use crate::trace;

/// The largest pool size that is accepted.
///
/// A pool allocates bookkeeping for each of its blocks. If that exceeded the available memory,
/// the process would abort instead of reporting an error.
const MAX_POOL_BLOCKS: u64 = 1 << 24;

const MAX_THREADS: u64 = 256;

/// The longest half-life that the policy accepts, in releases.
const MAX_HALF_LIFE: u64 = 1 << 24;

const MAX_SYNTHETIC_REQUESTS: u64 = 1_000_000;

/// The default block size of synthetic workloads, in tokens.
const SYNTHETIC_BLOCK_SIZE: usize = 16;

// The headings of the options.
const REQUESTS: &str = "Requests";
const POOLS: &str = "Policies and pools";
const SERVER: &str = "Server";
const OUTPUT: &str = "Output";

const EXAMPLES: &str = "\
Examples:
  Compare all policies on the default workload:
      kvbm-replay
  Compare two policies on a trace, in pools of 2,000 and 10,000 blocks:
      kvbm-replay --trace trace.jsonl --policy lru,lineage-tick --blocks 2000,10000
  Write a page with charts over the pool size, including the optimum:
      kvbm-replay --workload agent --report page.html";

/// Compares the eviction policies of a KV-cache block manager.
///
/// Replays the same requests once per eviction policy and pool size. Prints a table
/// with one row per run: hit rate, refused requests, evictions, throughput, and
/// latency.
///
/// The requests come from a synthetic workload, or from a trace if you give one with
/// --trace.
#[derive(Debug, Parser)]
#[command(name = "kvbm-replay", version, verbatim_doc_comment, after_long_help = EXAMPLES)]
pub struct Args {
    /// Replay the requests of this trace
    ///
    /// The file contains one JSON object per line, each describing a request:
    ///   timestamp      arrival, in milliseconds
    ///   input_length   length of the prompt, in tokens
    ///   output_length  length of the answer, in tokens
    ///   hash_ids       one id per block of 512 prompt tokens; equal ids stand
    ///                  for equal tokens after equal prefixes
    #[arg(long, value_name = "FILE", verbatim_doc_comment, help_heading = REQUESTS)]
    pub trace: Option<PathBuf>,

    /// Replay the requests of this synthetic workload
    #[arg(
        long,
        value_name = "NAME",
        default_value = "chat",
        conflicts_with = "trace",
        help_heading = REQUESTS
    )]
    pub workload: Service,

    /// Generate this many requests
    #[arg(long, value_name = "N", default_value_t = 4_000, conflicts_with = "trace",
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_SYNTHETIC_REQUESTS),
          help_heading = REQUESTS)]
    pub requests: usize,

    /// Generate the workload from this seed; the same seed gives the same requests
    #[arg(long, value_name = "N", default_value_t = 42, conflicts_with = "trace",
          help_heading = REQUESTS)]
    pub seed: u64,

    /// Run only these eviction policies (comma-separated or repeated)
    /// [default: all but multi-lru-reference]
    #[arg(long = "policy", value_name = "NAME", value_delimiter = ',', help_heading = POOLS,
          value_parser = Policy::parser())]
    policy: Vec<Policy>,

    /// Give LRFU this half-life, in releases, instead of letting it tune its own
    #[arg(long, value_name = "N", help_heading = POOLS,
          value_parser = RangedU64ValueParser::<u32>::new().range(1..=MAX_HALF_LIFE))]
    pub lrfu_half_life: Option<u32>,

    /// Run pools of these sizes, in blocks (comma-separated or repeated)
    ///
    /// [default: 3, 10, and 30 % of the distinct blocks that the requests ask for,
    /// but no size smaller than the largest request]
    #[arg(long = "blocks", value_name = "N", value_delimiter = ',', verbatim_doc_comment,
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_POOL_BLOCKS),
          help_heading = POOLS)]
    blocks: Vec<usize>,

    /// Run up to 13 pool sizes, from 0.1 to 100 % of the distinct blocks
    ///
    /// Pools are never smaller than the largest request.
    #[arg(long, conflicts_with = "blocks", help_heading = POOLS)]
    curve: bool,

    /// Set the number of tokens per block [default: 16, or 512 for a trace]
    ///
    /// A power of two up to 1024, or up to 512 for a trace. If it is less than 512,
    /// each id of the trace stands for several blocks.
    #[arg(long, value_name = "N", value_parser = parse_block_size, verbatim_doc_comment,
          help_heading = POOLS)]
    block_size: Option<usize>,

    /// Handle requests with this many threads, which share one list of requests
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_THREADS),
          help_heading = SERVER)]
    pub threads: usize,

    /// Let the threads take turns, one request each, in the order of the list
    ///
    /// Their hits then differ from those of one thread only by what the pool keeps by
    /// thread, and not by the order in which requests happen to be handled.
    #[arg(long, verbatim_doc_comment, help_heading = SERVER)]
    pub take_turns: bool,

    /// Let this many requests hold their blocks at the same time
    ///
    /// The limit is for all threads together. Before a request would exceed it, or if
    /// a request does not fit into the pool, the oldest request's blocks are released.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = parse_positive,
          verbatim_doc_comment,
          help_heading = SERVER)]
    pub in_flight: usize,

    /// Also show the offline optimum: the hits of a pool that knows all future requests
    ///
    /// It evicts the block whose next use is farthest away (Belady's MIN), and is
    /// computed for one thread whatever --threads says.
    #[arg(long, verbatim_doc_comment, help_heading = OUTPUT)]
    optimum: bool,

    /// Also write an HTML page with charts to this file
    ///
    /// Implies --optimum, and --curve unless --blocks is given. If FILE is `-`, the
    /// page goes to standard output and replaces the table.
    #[arg(long, value_name = "FILE", verbatim_doc_comment, help_heading = OUTPUT)]
    pub report: Option<PathBuf>,

    /// Print a JSON document instead of the table
    #[arg(long, help_heading = OUTPUT)]
    pub json: bool,
}

/// The pool sizes to run.
#[derive(Debug, PartialEq, Eq)]
pub enum Pools {
    /// A few sizes that suit the workload.
    Few,
    /// Enough sizes to draw a curve.
    Curve,
    /// These sizes, each once.
    Sizes(Vec<usize>),
}

impl Args {
    /// Parses the command line of this process.
    pub fn read() -> Result<Self, clap::Error> {
        Self::from_words(std::env::args_os())
    }

    fn from_words<W: Into<OsString> + Clone>(
        words: impl IntoIterator<Item = W>,
    ) -> Result<Self, clap::Error> {
        let args = Self::try_parse_from(words)?;
        if args.json && args.prints_page() {
            return Err(Self::command().error(
                clap::error::ErrorKind::ArgumentConflict,
                "'--report -' and '--json' cannot be combined: both write to standard output",
            ));
        }
        Ok(args)
    }

    /// Returns whether the page is written to standard output.
    pub fn prints_page(&self) -> bool {
        self.report.as_deref() == Some(Path::new("-"))
    }

    /// Returns the policies to run: those requested, each once, or else all.
    pub fn policies(&self) -> Vec<Policy> {
        if self.policy.is_empty() {
            Policy::usual().collect()
        } else {
            each_once(&self.policy)
        }
    }

    /// Returns the pool sizes to run.
    pub fn pools(&self) -> Pools {
        if !self.blocks.is_empty() {
            Pools::Sizes(each_once(&self.blocks))
        } else if self.curve || self.report.is_some() {
            Pools::Curve
        } else {
            Pools::Few
        }
    }

    /// Returns whether to compute the offline optimum.
    pub fn optimum(&self) -> bool {
        self.optimum || self.report.is_some()
    }

    /// Returns the block size in tokens: as requested, or else the default for the workload.
    pub fn block_size(&self) -> usize {
        self.block_size.unwrap_or(match self.trace {
            Some(_) => trace::TOKENS_PER_ID,
            None => SYNTHETIC_BLOCK_SIZE,
        })
    }
}

/// Prints the help or the error that parsing the command line resulted in, and returns the exit
/// code.
///
/// Clap spreads an error over several lines. This prints it on one line, without the usage.
pub fn reject(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    // If standard error is closed, there is nowhere to report an error.
    let _ = writeln!(io::stderr(), "{}", one_line(error));
    ExitCode::from(2)
}

fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty());
    let mut message = String::new();
    for line in lines {
        if !message.is_empty() {
            let separator = if line.starts_with("tip:") { "; " } else { " " };
            message.push_str(separator);
        }
        message.push_str(line);
    }
    message
}

fn parse_positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}

fn parse_block_size(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(size) if size.is_power_of_two() && size <= 1024 => Ok(size),
        _ => Err("must be a power of two from 1 to 1024".to_owned()),
    }
}

/// Returns `items` without repetitions, in the order in which they first appear.
fn each_once<T: Copy + PartialEq>(items: &[T]) -> Vec<T> {
    let mut once = Vec::with_capacity(items.len());
    for &item in items {
        if !once.contains(&item) {
            once.push(item);
        }
    }
    once
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::named;

    fn parse(line: &str) -> Result<Args, String> {
        let words = std::iter::once("kvbm-replay").chain(line.split_whitespace());
        Args::from_words(words).map_err(|error| one_line(&error))
    }

    #[test]
    fn defaults_depend_on_the_source() {
        let synthetic = parse("").unwrap();
        assert_eq!(synthetic.policies(), Vec::from_iter(Policy::usual()));
        assert_eq!(synthetic.workload, Service::Chat);
        assert_eq!(synthetic.pools(), Pools::Few);
        assert!(!synthetic.optimum());
        assert_eq!(synthetic.block_size(), 16);
        assert_eq!((synthetic.threads, synthetic.in_flight), (1, 16));
        assert_eq!(parse("--trace t.jsonl").unwrap().block_size(), 512);
    }

    #[test]
    fn lists_take_commas_and_repetition() {
        let args = parse("--policy lru,multi-lru --policy lru --blocks 10,20 --blocks 5").unwrap();
        assert_eq!(args.policies(), [named("lru"), named("multi-lru")]);
        assert_eq!(args.pools(), Pools::Sizes(vec![10, 20, 5]));
    }

    #[test]
    fn a_half_life_is_one_that_the_policy_takes() {
        let build = |releases| named("lrfu").build(8, 16, Some(releases));
        for (releases, is_taken) in [
            (0, false),
            (1, true),
            (1 << 24, true),
            ((1 << 24) + 1, false),
        ] {
            let args = parse(&format!("--lrfu-half-life {releases}"));
            assert_eq!(args.is_ok(), is_taken, "{releases}");
            assert_eq!(build(releases).is_ok(), is_taken, "{releases}");
        }
        assert_eq!(parse("").unwrap().lrfu_half_life, None);
    }

    #[test]
    fn a_report_has_curves_and_the_optimum() {
        let args = parse("--report page.html").unwrap();
        assert_eq!(args.pools(), Pools::Curve);
        assert!(args.optimum());
        let args = parse("--report page.html --blocks 7").unwrap();
        assert_eq!(args.pools(), Pools::Sizes(vec![7]));
        assert_eq!(parse("--curve").unwrap().pools(), Pools::Curve);
    }

    #[test]
    fn a_dash_is_standard_output() {
        assert!(parse("--report -").unwrap().prints_page());
        assert!(!parse("--report ./- --json").unwrap().prints_page());
        assert!(!parse("").unwrap().prints_page());
    }

    #[test]
    fn nonsense_is_rejected_in_one_line() {
        for line in [
            "--blocks 0",
            "--blocks 99999999999",
            "--blocks 10,,20",
            "--block-size 0",
            "--block-size 24",
            "--block-size 2048",
            "--block-size -1",
            "--threads 0",
            "--in-flight 0",
            "--requests 0",
            "--seed 1 --trace t.jsonl",
            "--requests 5 --trace t.jsonl",
            "--policy mru",
            "--policy",
            "--workload batch",
            "--workload agent --trace t.jsonl",
            "--curve --blocks 10",
            "--report",
            "--report - --json",
            "--colour",
            "extra",
        ] {
            let message = parse(line).expect_err(line);
            assert!(message.starts_with("error: "), "{line}: {message}");
            assert!(!message.contains('\n'), "{line}: {message}");
        }
        let message = parse("--policy mru").unwrap_err();
        assert!(
            message.contains("'mru'") && message.contains("lineage-fifo"),
            "{message}"
        );
    }
}
