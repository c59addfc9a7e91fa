//! The program that is counted: building it, and running it under a tool of valgrind.

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::data::{Repeated, Side};

/// What the program does.
pub struct Scene<'a> {
    pub side: Side,
    pub policy: &'a str,
    /// Separated by commas: `tracker`, `directives` (one has been given), `leases` (each request is
    /// leased, and the lease released).
    pub options: &'a str,
    pub operation: Repeated,
    pub threads: usize,
    /// The number of blocks.
    pub pool: usize,
}

impl Display for Scene<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.side, self.policy)?;
        for option in self.options.split(',').filter(|option| !option.is_empty()) {
            write!(f, ", {option}")?;
        }
        Ok(())
    }
}

impl Scene<'_> {
    /// Returns the numbers of requests before and while counting. Before, every block of the pool
    /// passes through the threads' hands.
    fn requests(&self) -> [usize; 2] {
        let warm = self.pool / 32;
        match self.side {
            Side::ThisCrate => [warm, 128],
            // Takes seven times as long.
            Side::Reference => [warm, 32],
        }
    }
}

/// The program, which has been built.
pub struct Program(PathBuf);

/// What the program says at its end.
#[derive(Default)]
pub struct Summary {
    pub blocks: usize,
    pub intervals: usize,
    /// What each lock guards.
    pub locks: Vec<String>,
}

impl Summary {
    pub fn of(output: &str) -> Result<Self, Box<dyn Error>> {
        let mut summary = Self::default();
        for line in output.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["blocks", count] => summary.blocks = count.parse()?,
                ["intervals", count] => summary.intervals = count.parse()?,
                ["lock", _, path] => {
                    let name = path.rsplit("::").next().unwrap_or(path);
                    summary.locks.push(name.to_owned());
                }
                _ => {}
            }
        }
        if summary.blocks == 0 {
            return Err("the program did not reach its end".into());
        }
        Ok(summary)
    }
}

/// What the program itself executes in an interval, which is not counted.
#[derive(Default)]
pub struct Overhead {
    /// The numbers of instructions and of empty intervals, without and with a lock.
    seen: [[u64; 2]; 2],
}

impl Overhead {
    /// Adds an empty interval.
    pub fn add(&mut self, is_locked: bool, instructions: u64) {
        let [sum, intervals] = &mut self.seen[usize::from(is_locked)];
        *sum += instructions;
        *intervals += 1;
    }

    /// Returns the number of instructions of an empty interval.
    pub fn of(&self, is_locked: bool) -> u64 {
        let [sum, intervals] = self.seen[usize::from(is_locked)];
        (sum + intervals / 2) / intervals.max(1)
    }
}

/// The folder that everything is written to.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/serial")
}

impl Program {
    pub fn build() -> Result<Self, Box<dyn Error>> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/serial/counted");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(["build", "--release", "--locked", "--manifest-path"])
            .arg(package.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(folder())
            .env("RUSTFLAGS", "--cfg kvbm_serial")
            .status()?;
        if !status.success() {
            return Err("the program cannot be built".into());
        }
        Ok(Self(folder().join("release/kvbm-lockfree-serial")))
    }

    /// Starts the program under a tool, with the tool's arguments.
    pub fn start(&self, scene: &Scene<'_>, tool: &[&str]) -> Result<Child, Box<dyn Error>> {
        let side = match scene.side {
            Side::ThisCrate => "this-crate",
            Side::Reference => "reference",
        };
        let operation = match scene.operation {
            Repeated::Lifecycle => "lifecycle",
            Repeated::Match => "match",
        };
        let [warm, counted] = scene.requests();
        let numbers = [scene.pool, scene.threads, warm, counted];
        let child = Command::new("valgrind")
            .args(tool)
            .arg(&self.0)
            .args([side, scene.policy, scene.options, operation])
            .args(numbers.iter().map(usize::to_string))
            .env("KVBM_CORES", scene.threads.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("valgrind cannot be started: {error}"))?;
        Ok(child)
    }

    /// Returns the name of a file for a tool's results.
    pub fn file(name: &str) -> PathBuf {
        folder().join(name)
    }
}
