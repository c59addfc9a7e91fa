//! `kvbm-replay` compares the eviction policies of a block manager on a stream of LLM requests.
//!
//! The program replays one list of requests for every combination of eviction policy and pool size.
//! It prints a table with one row per run, or a JSON document, and can write a page with charts.
//!
//! # How is it organized?
//!
//! Each stage is a module:
//!
//! 1. [`args`] parses the command line.
//! 2. [`trace`] parses a trace file, or [`synthetic`] generates requests. Either results in a
//!    [`workload::Workload`], the list of requests with their sequence hashes.
//! 3. [`replay`] runs the workload over one pool with one [`policy`]; its documentation defines
//!    hits, evictions, and refusals. [`optimum`] computes how many hits are possible.
//! 4. [`report`] turns the outcomes into a table, a JSON document, or a page. Nothing is written to
//!    standard output or a [`report_file`] until all runs have ended, so a failed run leaves no
//!    partial result.

mod args;
mod optimum;
mod policy;
mod progress;
mod replay;
mod report;
mod report_file;
mod synthetic;
mod trace;
mod workload;

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;

use crate::args::{Args, Pools};
use crate::optimum::Future;
use crate::progress::Progress;
use crate::replay::Setup;
use crate::report::{Config, Hits, Report, Row, Source};
use crate::report_file::ReportFile;
use crate::workload::Workload;

fn main() -> ExitCode {
    let args = match Args::read() {
        Ok(args) => args,
        Err(error) => return args::reject(&error),
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If standard error is closed, there is nowhere to report an error.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let (source, workload) = load(args)?;
    // Opened before the runs, so that an error shows early; but after the trace, since opening it
    // creates the file and a mistyped trace might have the same path.
    let page = match &args.report {
        Some(path) if !args.prints_page() => Some(ReportFile::open(path, args.trace.as_deref())?),
        _ => None,
    };
    let policies = args.policies();
    let pools = match args.pools() {
        Pools::Few => workload.default_pool_sizes(),
        Pools::Curve => workload.curve_pool_sizes(),
        Pools::Sizes(sizes) => sizes,
    };
    let runs = pools.len() * (policies.len() + usize::from(args.optimum()));
    let mut progress = Progress::new(runs * workload.requests());

    let mut optimum = Vec::new();
    if args.optimum() {
        let future = Future::of(&workload);
        for &blocks in &pools {
            progress.begin(format!("optimum, {blocks} blocks"));
            let counts = future.replay(blocks, args.in_flight);
            progress.end(workload.requests());
            optimum.push(Hits::new(blocks, &counts));
        }
    }
    let mut rows = Vec::new();
    for &blocks in &pools {
        for &policy in &policies {
            let setup = Setup {
                policy,
                blocks,
                threads: args.threads,
                takes_turns: args.take_turns,
                in_flight: args.in_flight,
                lrfu_half_life: args.lrfu_half_life,
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
            takes_turns: args.take_turns,
            in_flight: args.in_flight,
            lrfu_half_life: args.lrfu_half_life,
            policies,
            blocks: pools,
        },
        workload: workload.summary(),
        rows,
        optimum,
    };
    let text = if args.prints_page() {
        report::page(&report)
    } else if args.json {
        report::json(&report)?
    } else {
        report::table(&report, io::stdout().is_terminal())
    };
    if let Some(file) = page {
        file.write(&report::page(&report))?;
    }
    print(&text).context("cannot write the result")
}

/// Loads or generates the list of requests that the arguments specify.
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
            let (service, seed) = (args.workload, args.seed);
            let workload = service.generate(seed, args.requests, block_size)?;
            Ok((Source::Synthetic { service, seed }, workload))
        }
    }
}

/// Writes the result to standard output.
///
/// A reader that has closed the pipe, as `head` does after its last line, is not an error.
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
