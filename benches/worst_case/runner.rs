//! Runs scenes in processes of their own, and reads what they have measured.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::thread;

use crate::meter::{Bound, EMPTY_CALLS};
use crate::scenes::Side;

/// The first argument of a process that runs a scene.
pub const RUN: &str = "--run-scene";
/// The argument of a process that measures times.
pub const TIME: &str = "time";
const INSTRUCTIONS: &str = "instructions";

/// The number of times that a scene runs to measure times.
const TURNS: usize = 3;

/// What calls of an operation cost in a state.
pub struct Row {
    pub operation: String,
    pub state: String,
    pub bound: Bound,
    pub instructions: Cost,
    pub nanoseconds: Cost,
}

/// The costs of the calls in a row.
#[derive(Clone, Copy, Default)]
pub struct Cost {
    pub median: u64,
    pub worst: u64,
    /// Which call was the dearest.
    pub at: usize,
}

impl Cost {
    fn of(calls: &[u64]) -> Self {
        let mut sorted = calls.to_vec();
        sorted.sort_unstable();
        let worst = *sorted.last().expect("a row has calls");
        Self {
            median: sorted[sorted.len() / 2],
            worst,
            at: calls
                .iter()
                .position(|&call| call == worst)
                .expect("it is there"),
        }
    }
}

struct RawRow {
    operation: String,
    state: String,
    bound: Bound,
    calls: Vec<u64>,
}

/// Measures a scene.
pub fn measure(scene: &str, policy: &str, side: Side, blocks: usize) -> Vec<Row> {
    let counted = run(INSTRUCTIONS, scene, policy, side, blocks);
    let timed: Vec<_> = (0..TURNS)
        .map(|_| run(TIME, scene, policy, side, blocks))
        .collect();
    let nanoseconds = |at: usize| {
        timed
            .iter()
            .map(|rows| Cost::of(&rows[at].calls))
            .min_by_key(|cost| cost.worst)
            .expect("there are several")
    };
    let rows = counted.iter().enumerate().map(|(at, row)| Row {
        operation: row.operation.clone(),
        state: row.state.clone(),
        bound: row.bound,
        instructions: Cost::of(&row.calls),
        nanoseconds: nanoseconds(at),
    });
    // The empty calls are not shown.
    rows.filter(|row| !row.operation.is_empty()).collect()
}

fn run(unit: &str, scene: &str, policy: &str, side: Side, blocks: usize) -> Vec<RawRow> {
    let program = std::env::current_exe().expect("a program knows where it is");
    let mut command = match unit {
        TIME => Command::new(program),
        _ => {
            let mut command = Command::new("valgrind");
            command
                .args(["--tool=callgrind", "--instr-atstart=no", "--vgdb=no"])
                .args(["--callgrind-out-file=/dev/null"])
                .arg(program);
            command
        }
    };
    let mut child = command
        .args([
            RUN,
            unit,
            scene,
            policy,
            &side.to_string(),
            &blocks.to_string(),
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
    let log = child.stderr.take().expect("it is piped");
    let counts = thread::spawn(move || counts(log));
    let mut report = String::new();
    let mut output = child.stdout.take().expect("it is piped");
    output.read_to_string(&mut report).expect("it is text");
    let status = child.wait().expect("it has been started");
    let (counts, rest) = counts.join().expect("the log can be read");
    assert!(status.success(), "{scene} {policy} failed:\n{rest}");
    rows(&report, &counts)
}

/// Reads a log of callgrind. Returns the count of each command to report it, and the lines that have
/// nothing to do with that.
fn counts(log: impl Read) -> (Vec<u64>, String) {
    let mut counts = Vec::new();
    let mut rest = String::new();
    let mut thread = String::new();
    for line in BufReader::new(log).lines() {
        let line = line.expect("it is text");
        if let Some(current) = line.strip_prefix("current-tid: ") {
            thread = format!("events-{current}");
        } else if let Some((name, count)) = line.split_once(": ")
            && name == thread
        {
            counts.push(count.trim().parse().expect("a count"));
        } else if rest.len() < 100_000 && !is_status(&line) {
            rest.push_str(&line);
            rest.push('\n');
        }
    }
    (counts, rest)
}

/// Returns whether a line is another line of a report.
fn is_status(line: &str) -> bool {
    const BEGINNINGS: [&str; 12] = [
        "instrumentation: ",
        "executed-",
        "distinct-",
        "events: ",
        "events-",
        "part: ",
        "threads: ",
        "frames-",
        "function-",
        "calls-",
        "==",
        "--",
    ];
    BEGINNINGS
        .iter()
        .any(|beginning| line.starts_with(beginning))
}

/// Reads a report of a meter. `counts` has two counts for each call, if callgrind has counted.
fn rows(report: &str, counts: &[u64]) -> Vec<RawRow> {
    let mut rows: Vec<RawRow> = Vec::new();
    let mut counts = counts.chunks_exact(2).map(|pair| pair[1] - pair[0]);
    let mut empty = u64::MAX;
    for line in report.lines() {
        let mut fields = line.split('\t');
        let mut field = || fields.next().expect("a field");
        if field() == "row" {
            rows.push(RawRow {
                bound: match field() {
                    "Constant" => Bound::Constant,
                    _ => Bound::VisitsAll,
                },
                operation: field().to_owned(),
                state: field().to_owned(),
                calls: Vec::new(),
            });
            continue;
        }
        let row: usize = field().parse().expect("a row");
        let cost = match fields.next() {
            Some(nanoseconds) => nanoseconds.parse().expect("a number"),
            None => counts.next().expect("two counts for each call"),
        };
        let row = &mut rows[row];
        if row.operation.is_empty() {
            empty = empty.min(cost);
            assert!(row.calls.len() < EMPTY_CALLS);
        }
        row.calls.push(cost);
    }
    for call in rows.iter_mut().flat_map(|row| &mut row.calls) {
        *call = call.saturating_sub(empty);
    }
    rows
}
