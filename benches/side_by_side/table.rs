//! A table of what criterion has measured, read from the files that it writes.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use serde::Deserialize;

use crate::Method;

/// Nanoseconds per element, by method.
type Row = BTreeMap<Method, f64>;

#[derive(Deserialize)]
struct Benchmark {
    group_id: String,
    function_id: String,
    value_str: String,
    throughput: Throughput,
}

#[derive(Deserialize)]
struct Throughput {
    #[serde(rename = "Elements")]
    elements: f64,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
}

/// Prints a row for each of `cases` (an operation with its circumstances) that has been measured
/// since `start`.
pub fn print(
    folder: &Path,
    cases: &[(String, String)],
    start: SystemTime,
) -> Result<(), Box<dyn Error>> {
    let mut rows = BTreeMap::new();
    collect(folder, start, &mut rows)?;
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header([
        "ns per block",
        "",
        "own methods",
        "drop-in methods",
        "reference",
        "reference ÷ drop-in",
    ]);
    for case in cases {
        let Some(row) = rows.get(case) else { continue };
        let cell = |method| {
            row.get(&method)
                .map_or(String::new(), |ns| format!("{ns:.1}"))
        };
        let ratio = match (row.get(&Method::Reference), row.get(&Method::DropIn)) {
            (Some(reference), Some(ours)) => format!("{:.1}", reference / ours),
            _ => String::new(),
        };
        table.add_row([
            case.0.clone(),
            case.1.clone(),
            cell(Method::Own),
            cell(Method::DropIn),
            cell(Method::Reference),
            ratio,
        ]);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("\n{table}");
    Ok(())
}

fn collect(
    folder: &Path,
    start: SystemTime,
    rows: &mut BTreeMap<(String, String), Row>,
) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        let estimates = path.join("estimates.json");
        // The latest of the runs that criterion keeps.
        if !path.ends_with("new") {
            collect(&path, start, rows)?;
        } else if fs::metadata(&estimates)?.modified()? >= start {
            let benchmark: Benchmark = read(&path.join("benchmark.json"))?;
            let estimates: Estimates = read(&estimates)?;
            let Some(method) = Method::of(&benchmark.function_id) else {
                continue;
            };
            let ns = estimates.median.point_estimate / benchmark.throughput.elements;
            rows.entry((benchmark.group_id, benchmark.value_str))
                .or_default()
                .insert(method, ns);
        }
    }
    Ok(())
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, Box<dyn Error>> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}
