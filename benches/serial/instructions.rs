//! Instructions and atomic instructions, in all and by lock, from callgrind.

use std::error::Error;
use std::fs;

use crate::program::{Overhead, Program, Scene, Summary};

pub struct Instructions {
    pub blocks: usize,
    pub total: u64,
    pub atomics: u64,
    /// Those that are executed while any lock is held.
    pub locked: u64,
    pub locks: Vec<LockInstructions>,
}

/// The instructions in the sections of a lock.
pub struct LockInstructions {
    pub guards: String,
    /// While the lock is held.
    pub held: u64,
    /// While it is held and no lock has been taken since.
    pub innermost: u64,
}

pub fn count(program: &Program, scene: &Scene<'_>) -> Result<Instructions, Box<dyn Error>> {
    let file = Program::file("callgrind.out");
    // A run adds its parts to those that are there.
    let _ = fs::remove_file(&file);
    let output = format!("--callgrind-out-file={}", file.display());
    let tool = [
        "--tool=callgrind",
        &output,
        "--combine-dumps=yes",
        "--collect-bus=yes",
        "--dump-line=no",
    ];
    let run = program.start(scene, &tool)?.wait_with_output()?;
    if !run.status.success() {
        return Err(String::from_utf8_lossy(&run.stderr).into());
    }
    let summary = Summary::of(&String::from_utf8_lossy(&run.stdout))?;
    let parts = String::from_utf8_lossy(&fs::read(&file)?).into_owned();
    fs::remove_file(&file)?;
    add(summary, &parts)
}

/// Adds up the parts of callgrind's file, each of which is an interval.
fn add(summary: Summary, parts: &str) -> Result<Instructions, Box<dyn Error>> {
    let locks = summary.locks.into_iter().map(|guards| LockInstructions {
        guards,
        held: 0,
        innermost: 0,
    });
    let mut sum = Instructions {
        blocks: summary.blocks,
        total: 0,
        atomics: 0,
        locked: 0,
        locks: locks.collect(),
    };
    let (mut label, mut intervals) = ("", 0);
    let mut empty = Overhead::default();
    for line in parts.lines() {
        if let Some(trigger) = line.strip_prefix("desc: Trigger: Client Request: ") {
            label = trigger;
        } else if line.starts_with("desc: Trigger: ") {
            label = "";
        } else if let Some(totals) = line.strip_prefix("totals: ") {
            // Callgrind omits zeros at the end.
            let mut totals = totals.split_whitespace().map(str::parse::<u64>);
            let instructions = totals.next().unwrap_or(Ok(0))?;
            if let Some(who) = label.strip_prefix("calibrate ") {
                empty.add(who.contains(';'), instructions);
            }
            let Some(who) = label.strip_prefix("count ") else {
                continue;
            };
            intervals += 1;
            let instructions = instructions.saturating_sub(empty.of(who.contains(';')));
            sum.total += instructions;
            sum.atomics += totals.next().unwrap_or(Ok(0))?;
            let held: Vec<usize> = (who.split(';').skip(1))
                .map(str::parse)
                .collect::<Result<_, _>>()?;
            for &lock in &held {
                sum.locks[lock].held += instructions;
            }
            if let Some(&innermost) = held.last() {
                sum.locks[innermost].innermost += instructions;
                sum.locked += instructions;
            }
        }
    }
    if intervals != summary.intervals {
        return Err(format!("{intervals} of {} intervals", summary.intervals).into());
    }
    Ok(sum)
}
