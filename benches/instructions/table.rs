//! The instructions per block of both crates, as a table in Markdown.

use std::collections::HashMap;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::operations::OPERATIONS;

/// The environment variable that tells a child process to measure the reference as well.
pub const COMPARE: &str = "KVBM_COMPARE_INSTRUCTIONS";

/// Runs all benchmarks and prints the results.
pub fn print() {
    let program = std::env::current_exe().expect("a program knows where it is");
    let output = Command::new(program)
        .args(["--bench", "--output-format=json"])
        .env(COMPARE, "1")
        .stderr(Stdio::inherit())
        .output()
        .expect("it can be started again");
    let counts = counts(&String::from_utf8_lossy(&output.stdout));
    println!("| instructions per block | own methods | drop-in methods | reference | ratio |");
    println!("|---|---:|---:|---:|---:|");
    for operation in OPERATIONS {
        let count = |group: &str| {
            let count = counts.get(&(group.into(), operation.name.into()))?;
            Some(*count as f64 / operation.blocks as f64)
        };
        let (drop_in, reference) = (count("drop_in"), count("reference"));
        let ratio = reference
            .zip(drop_in)
            .map(|(reference, drop_in)| format!("{:.1}", reference / drop_in));
        println!(
            "| {} | {} | {} | {} | {} |",
            operation.what,
            shown(count("own").or_else(|| count("beyond"))),
            shown(drop_in),
            shown(reference),
            ratio.unwrap_or_default()
        );
    }
    // If a limit was exceeded, the child has already said so.
    std::process::exit(output.status.code().unwrap_or(1));
}

fn shown(count: Option<f64>) -> String {
    match count {
        None => String::new(),
        Some(count) if count < 100.0 => format!("{count:.1}"),
        Some(count) => format!("{count:.0}"),
    }
}

/// Reads the counts by group and operation from the runner's summaries, which are JSON documents.
fn counts(summaries: &str) -> HashMap<(String, String), u64> {
    serde_json::Deserializer::from_str(summaries)
        .into_iter::<Value>()
        .map(|summary| {
            let summary = summary.expect("the runner writes JSON");
            let text = |field: &str| summary[field].as_str().expect(field).to_owned();
            // The path consists of the crate's modules, the group, and the benchmark.
            let path = text("module_path");
            let group = path.rsplit("::").nth(1).expect("a group");
            let name = format!("{}.{}", text("function_name"), text("id"));
            let total = &summary["profiles"][0]["summaries"]["total"]["summary"];
            let count = newest(&total["Callgrind"]["Ir"]["metrics"])
                .unwrap_or_else(|| panic!("no count of {name} in {total}"));
            ((group.to_owned(), name), count)
        })
        .collect()
}

/// Returns the count of this run. There may also be one of an earlier run.
fn newest(metrics: &Value) -> Option<u64> {
    let new = match metrics.get("Both") {
        Some(both) => &both[0],
        None => &metrics["Left"],
    };
    new["Int"].as_u64()
}
