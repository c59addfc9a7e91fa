//! The throughput by number of threads, with one panel per operation.

use crate::data::{Operation, Throughput, ThroughputRow};
use crate::page::{Axis, Curve, Line, Outcome, Page, Panel};

pub fn draw(data: &Throughput) -> Outcome {
    let panels = [
        Operation::MixedRequests,
        Operation::Allocate,
        Operation::MatchActive,
    ]
    .map(|operation| {
        let rows = data.rows.iter().filter(|row| row.operation == operation);
        panel(operation, &rows.collect::<Vec<_>>())
    });
    Page {
        title: "Throughput by threads".into(),
        subtitle: format!(
            "{}; medians of {} turns, bars: the middle half of the turns",
            data.machine, data.turns
        ),
        panels: panels.into(),
    }
    .draw("throughput.svg")
}

fn panel(operation: Operation, rows: &[&ThroughputRow]) -> Panel {
    let rates = || rows.iter().flat_map(|row| &row.by_threads);
    let highest = rates()
        .map(|rate| rate.million_blocks_per_second.upper_quartile)
        .fold(0.0, f64::max);
    let mut threads: Vec<f64> = rates().map(|rate| (rate.threads as f64).log2()).collect();
    threads.sort_by(f64::total_cmp);
    threads.dedup();
    let last = threads.last().copied().unwrap_or_default();
    Panel {
        title: operation.to_string(),
        x: Axis {
            name: "threads",
            range: -0.25..last + 0.25,
            ticks: threads,
            label: |log| format!("{:.0}", log.exp2()),
        },
        y: Axis {
            name: "million blocks / s",
            range: 0.0..highest * 1.08,
            ticks: ticks(highest * 1.08),
            label: f64::to_string,
        },
        curves: rows.iter().map(|row| curve(row)).collect(),
    }
}

/// Returns about six round numbers up to `end`.
fn ticks(end: f64) -> Vec<f64> {
    let magnitude = 10_f64.powf((end / 6.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|round| round * magnitude)
        .into_iter()
        .find(|step| end / step <= 6.0)
        .unwrap_or(end);
    (0..)
        .map(|number| f64::from(number) * step)
        .take_while(|&tick| tick <= end)
        .collect()
}

fn curve(row: &ThroughputRow) -> Curve {
    let of_rates = row.by_threads.iter().map(|rate| {
        let threads = (rate.threads as f64).log2();
        (threads, &rate.million_blocks_per_second)
    });
    let points: Vec<_> = (of_rates.clone())
        .map(|(threads, rates)| (threads, rates.median))
        .collect();
    Curve {
        line: Line {
            side: row.side,
            policy: row.policy,
        },
        markers: points.clone(),
        points,
        bars: of_rates
            .map(|(threads, rates)| {
                [
                    (threads, rates.lower_quartile),
                    (threads, rates.upper_quartile),
                ]
            })
            .collect(),
    }
}
