//! The command line.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::RangedU64ValueParser;
use clap::{CommandFactory, Parser};

use crate::policy::{self, Policy};
use crate::synthetic::Service;
use crate::trace;

/// The largest pool that can be asked for.
///
/// A pool keeps bookkeeping for each of its blocks, and a size beyond what memory holds would
/// abort the process instead of ending in an error.
const MAX_POOL_BLOCKS: u64 = 1 << 24;

const MAX_THREADS: u64 = 256;

const MAX_SYNTHETIC_REQUESTS: u64 = 1_000_000;

/// The block size of the synthetic workloads.
const SYNTHETIC_BLOCK_SIZE: usize = 16;

/// Replays LLM requests over a KV-cache block manager and compares its eviction policies.
///
/// Without a trace, the requests are those of a synthetic service.
#[derive(Debug, Parser)]
#[command(name = "kvbm-replay", version)]
pub struct Args {
    /// Replay this trace instead: JSON lines with `timestamp` (ms), `input_length`,
    /// `output_length` (tokens), and `hash_ids` (one id per block of 512 tokens)
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,

    /// The synthetic service
    #[arg(
        long,
        value_name = "NAME",
        default_value = "chat",
        conflicts_with = "trace"
    )]
    pub workload: Service,

    /// Eviction policies to run, separated by commas or given repeatedly [default: all]
    #[arg(long = "policy", value_name = "NAME", value_delimiter = ',',
          value_parser = policy::parser())]
    policy: Vec<Policy>,

    /// Pool sizes in blocks, separated by commas or given repeatedly [default: fractions of the
    /// distinct blocks requested]
    #[arg(long = "blocks", value_name = "N", value_delimiter = ',',
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_POOL_BLOCKS))]
    blocks: Vec<usize>,

    /// Pool sizes from 0.1 to 100 % of the distinct blocks instead, as far as the largest request
    /// fits
    #[arg(long, conflicts_with = "blocks")]
    curve: bool,

    /// Show the offline optimum as well: the hits of one thread that knows the requests to come
    #[arg(long)]
    optimum: bool,

    /// Write a page with curves and figures to this file, with the optimum, or with `-` to standard
    /// output in place of the table; implies --curve unless there are --blocks
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Tokens per block of the pool, a power of two up to 1024, or up to 512 for a trace, whose
    /// ids then stand for several blocks each [default: 16, or 512 for a trace]
    #[arg(long, value_name = "N", value_parser = parse_block_size)]
    block_size: Option<usize>,

    /// Threads that take requests from the one list
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_THREADS))]
    pub threads: usize,

    /// Requests whose blocks are held at once, over all threads; the oldest is released first
    #[arg(long, value_name = "N", default_value_t = 16,
          value_parser = parse_positive)]
    pub in_flight: usize,

    /// Seed of the synthetic workload
    #[arg(long, value_name = "N", default_value_t = 42, conflicts_with = "trace")]
    pub seed: u64,

    /// Requests of the synthetic workload
    #[arg(long, value_name = "N", default_value_t = 4_000, conflicts_with = "trace",
          value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_SYNTHETIC_REQUESTS))]
    pub requests: usize,

    /// Print one JSON document instead of the table
    #[arg(long)]
    pub json: bool,
}

/// Which sizes of pools are run.
#[derive(Debug, PartialEq, Eq)]
pub enum Pools {
    /// A few that suit the workload.
    Few,
    /// As many as a curve takes.
    Curve,
    /// These, each once.
    Sizes(Vec<usize>),
}

impl Args {
    /// Reads the command line of this process.
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
                "'--report -' and '--json' both write to standard output",
            ));
        }
        Ok(args)
    }

    /// Whether the page is what goes to standard output.
    pub fn prints_page(&self) -> bool {
        self.report.as_deref() == Some(Path::new("-"))
    }

    /// The policies to run: those asked for, each once, or all.
    pub fn policies(&self) -> Vec<Policy> {
        if self.policy.is_empty() {
            Policy::ALL.to_vec()
        } else {
            each_once(&self.policy)
        }
    }

    /// The pool sizes asked for.
    pub fn pools(&self) -> Pools {
        if !self.blocks.is_empty() {
            Pools::Sizes(each_once(&self.blocks))
        } else if self.curve || self.report.is_some() {
            Pools::Curve
        } else {
            Pools::Few
        }
    }

    /// Whether the offline optimum is wanted.
    pub fn optimum(&self) -> bool {
        self.optimum || self.report.is_some()
    }

    /// Tokens per block: as asked for, or the natural size of the workload.
    pub fn block_size(&self) -> usize {
        self.block_size.unwrap_or(match self.trace {
            Some(_) => trace::TOKENS_PER_ID,
            None => SYNTHETIC_BLOCK_SIZE,
        })
    }
}

/// Ends the program for a command line that asks for help or makes no sense.
///
/// Clap spreads an error over several lines. Here it becomes one, without the usage summary.
pub fn reject(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    // A closed standard error leaves nobody to tell.
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
        Ok(0) => Err("expected at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}

fn parse_block_size(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(size) if size.is_power_of_two() && size <= 1024 => Ok(size),
        _ => Err("expected a power of two from 1 to 1024".to_owned()),
    }
}

/// `items` without repetitions, in the order of their first appearance.
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
        assert_eq!(synthetic.policies().len(), Policy::ALL.len());
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
