//! `kvbm-replay`: what a block manager does with a stream of LLM requests.
//!
//! The program replays one list of requests over every combination of eviction policy and pool
//! size and prints one row for each: hit rate, evictions, refusals, throughput, and latency. The
//! requests come from a trace in the Mooncake format (`--trace FILE`) or from a synthetic chat
//! service.
//!
//! The stages follow each other, and each is a module:
//!
//! 1. [`args`] reads the command line.
//! 2. [`trace`] parses a trace file, or [`synthetic`] invents the conversations; both end up as a
//!    [`workload::Workload`], the list of requests with their sequence hashes.
//! 3. [`replay`] drives one pool of one [`policy`] through the workload. Its documentation defines
//!    what a hit, an eviction, and a refusal are.
//! 4. [`report`] turns the outcomes into a table or a JSON document. Nothing reaches standard
//!    output before every run has ended, so that a failure never leaves half a result behind.

mod args;
mod policy;
mod progress;
mod replay;
mod report;
mod synthetic;
mod trace;
mod workload;

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use crate::args::Args;
use crate::progress::Progress;
use crate::replay::Setup;
use crate::report::{Config, Report, Row, Source};
use crate::workload::Workload;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return args::reject(&error),
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed standard error leaves nobody to tell.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let (source, workload) = load(args)?;
    let policies = args.policies();
    let pools = args
        .pools()
        .unwrap_or_else(|| workload.default_pool_sizes());

    let mut progress = Progress::new(policies.len() * pools.len() * workload.requests());
    let mut rows = Vec::new();
    for &blocks in &pools {
        for &policy in &policies {
            let setup = Setup {
                policy,
                blocks,
                threads: args.threads,
                in_flight: args.in_flight,
            };
            progress.begin(format!("{policy}, {blocks} blocks"));
            let outcome = replay::replay(&workload, &setup, &mut |done| progress.update(done))?;
            progress.end(workload.requests());
            rows.push(Row::new(&setup, &outcome));
        }
    }
    drop(progress);

    let report = Report {
        config: Config {
            source,
            block_size: workload.block_size(),
            threads: args.threads,
            in_flight: args.in_flight,
            policies,
            blocks: pools,
        },
        workload: workload.summary(),
        rows,
    };
    let text = if args.json {
        report::json(&report)?
    } else {
        report::table(&report, io::stdout().is_terminal())
    };
    print(&text).context("cannot write the result")
}

/// Builds the list of requests that the arguments ask for.
fn load(args: &Args) -> anyhow::Result<(Source, Workload)> {
    let block_size = args.block_size();
    match &args.trace {
        Some(path) => {
            let requests = workload::read_trace(path)?;
            let source = Source::Trace {
                file: path.display().to_string(),
                span_seconds: trace::span(&requests) / 1e3,
            };
            let workload = Workload::from_trace(&requests, block_size)
                .with_context(|| path.display().to_string())?;
            Ok((source, workload))
        }
        None => {
            let workload = synthetic::generate(args.seed, args.requests, block_size)?;
            Ok((Source::Synthetic { seed: args.seed }, workload))
        }
    }
}

/// Writes the result to standard output.
///
/// A reader that has gone away, as `head` does once it has its lines, is not an error.
fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
