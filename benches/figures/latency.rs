//! The latency by percentile, with one panel per number of threads.

use crate::data::{Latency, LatencyRow};
use crate::page::{Axis, Curve, Line, Outcome, Page, Panel};

/// Returns the position of a percentile on the axis, which is the number of nines.
fn nines(percentile: f64) -> f64 {
    -(1.0 - percentile / 100.0).log10()
}

const TICKS: [f64; 5] = [50.0, 90.0, 99.0, 99.9, 99.99];

/// Formats a percentile without insignificant digits.
fn percent(nines: &f64) -> String {
    let percentile = 100.0 - 100.0 * 0.1_f64.powf(*nines);
    format!("{} %", (percentile * 100.0).round() / 100.0)
}

fn duration(log_us: &f64) -> String {
    match 10_f64.powf(*log_us).round() as u64 {
        us if us >= 1_000_000 => format!("{} s", us / 1_000_000),
        us if us >= 1_000 => format!("{} ms", us / 1_000),
        us => format!("{us} µs"),
    }
}

pub fn draw(data: &Latency) -> Outcome {
    let log_us = |ns: u64| (ns as f64 / 1e3).log10();
    let all = data.rows.iter().flat_map(|row| &row.curve);
    let (lowest, highest) = all.fold((f64::MAX, f64::MIN), |(low, high), &(_, ns)| {
        (low.min(log_us(ns)), high.max(log_us(ns)))
    });
    let decades = lowest.floor()..highest.ceil();
    let mut threads: Vec<usize> = data.rows.iter().map(|row| row.threads).collect();
    threads.sort_unstable();
    threads.dedup();
    let panel = |threads: usize| Panel {
        title: match threads {
            1 => "1 thread".into(),
            _ => format!("{threads} threads"),
        },
        x: Axis {
            name: "percentile",
            range: nines(50.0)..nines(99.99),
            ticks: TICKS.map(nines).into(),
            label: percent,
        },
        y: Axis {
            name: "time per request (log)",
            range: decades.clone(),
            ticks: (decades.start as i32..=decades.end as i32)
                .map(f64::from)
                .collect(),
            label: duration,
        },
        curves: (data.rows.iter())
            .filter(|row| row.threads == threads)
            .map(|row| curve(row, log_us))
            .collect(),
    };
    Page {
        title: "Latency of mixed requests of 32 blocks".into(),
        subtitle: format!(
            "{}; {} thousand requests a line",
            data.machine,
            data.requests / 1_000
        ),
        panels: threads.into_iter().map(panel).collect(),
    }
    .draw("latency.svg")
}

fn curve(row: &LatencyRow, log_us: impl Fn(u64) -> f64) -> Curve {
    let place = |&(percentile, ns): &(f64, u64)| (nines(percentile), log_us(ns));
    Curve {
        line: Line {
            side: row.side,
            policy: row.policy,
        },
        points: row.curve.iter().map(place).collect(),
        markers: (row.curve.iter())
            .filter(|(percentile, _)| TICKS.contains(percentile))
            .map(place)
            .collect(),
        bars: Vec::new(),
    }
}
