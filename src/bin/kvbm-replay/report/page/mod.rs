//! The report as an HTML page: charts, and the numbers they show.
//!
//! The page is a single file that loads nothing: it contains its styles and charts. Tooltips with
//! the numbers are the titles of points and columns, so no script is needed either.

mod chart;
mod look;
mod scale;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::chart::{Chart, Curve, Point, Size, sample, sample_optimum};
use self::scale::Scale;
use super::numbers::{grouped, percent, three_digits, without_zeros};
use super::{HIT_RATE, Hits, IN_FLIGHT, OPTIMUM, OPTIMUM_OF_ONE, REFUSAL, Report, Row};

const STYLE: &str = include_str!("page.css");

/// Formats the report as an HTML document.
pub fn page(report: &Report) -> String {
    let config = &report.config;
    let title = config.source.title();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Eviction policies: " (title) }
                style { (PreEscaped(STYLE)) (PreEscaped(look::rules())) }
            }
            body {
                header {
                    h1 { "Eviction policies of a KV cache" }
                    p.source { (title) }
                    p { (config.source.extent(report.workload.requests)) ", " (config.conditions()) }
                    p { "In flight: " (IN_FLIGHT) "." }
                }
                (facts(report))
                (legend(report))
                main {
                    (hit_rates(report))
                    div.panels {
                        @if !report.optimum.is_empty() {
                            (panel("Share of the optimum", "hits ÷ hits of the optimum", &share_of_optimum(report)))
                        }
                        (panel("Evictions", "÷ blocks requested", &evictions(report)))
                        (panel("Throughput", "million blocks requested per second", &throughput(report)))
                        @for (title, chart) in latencies(report) {
                            (panel(title, "of a request, log scale", &chart))
                        }
                    }
                    (rates(report))
                    (runs(report))
                }
                footer {
                    @if config.threads == 1 {
                        p { "Hit rates, evictions, and refusals are the same in every run. Times vary: each configuration was run once, on the machine that wrote this page." }
                    } @else {
                        p { "With several threads, all numbers except the optimum's vary from run to run. Each configuration was run once, on the machine that wrote this page." }
                    }
                    p { "kvbm-replay " (env!("CARGO_PKG_VERSION")) }
                }
            }
        }
    }
    .into_string()
}

/// Shows the size of the workload.
fn facts(report: &Report) -> Markup {
    let workload = report.workload;
    let reuse = 1.0 - workload.distinct_blocks as f64 / workload.blocks_requested as f64;
    let facts = [
        (grouped(workload.blocks_requested), "blocks requested"),
        (grouped(workload.distinct_blocks), "distinct blocks"),
        (percent(reuse), "hit rate in an unlimited pool"),
        (grouped(report.config.block_size), "tokens per block"),
        (
            grouped(workload.largest_request),
            "blocks in the largest request",
        ),
    ];
    html! {
        dl.facts {
            @for (number, name) in facts {
                div {
                    dt { (name) }
                    dd { (number) }
                }
            }
        }
    }
}

fn legend(report: &Report) -> Markup {
    html! {
        ul.legend aria-label="Legend" {
            @for &policy in &report.config.policies {
                li { (sample(policy)) (policy) }
            }
            @if !report.optimum.is_empty() {
                li { (sample_optimum()) "optimum; shaded: the gap to the best policy" }
            }
        }
    }
}

fn panel(title: &str, note: &str, chart: &Chart) -> Markup {
    html! {
        figure {
            figcaption {
                h2 { (title) }
                p { (note) }
            }
            (chart.draw(Size::SMALL))
        }
    }
}

fn hit_rates(report: &Report) -> Markup {
    let mut optimum: Vec<Point> = report
        .optimum
        .iter()
        .map(|hits| Point {
            blocks: hits.blocks,
            value: hits.hit_rate,
        })
        .collect();
    optimum.sort_by_key(|point| point.blocks);
    let curves = curves(report, |row| Some(row.hits.hit_rate));
    let values = values(&curves).chain(optimum.iter().map(|point| point.value));
    let chart = Chart {
        y: Scale::linear(values),
        tick: percent_tick,
        value: percent,
        optimum,
        ..plain("Hit rate by pool size", report, curves)
    };
    html! {
        figure.first {
            figcaption {
                h2 { "Hit rate" }
                p {
                    (HIT_RATE)
                    @if report.has_refusals() { "; some requests were refused, see the table" }
                }
            }
            div.wide { (chart.draw(Size::WIDE)) }
            div.tall { (chart.draw(Size::TALL)) }
        }
    }
}

fn share_of_optimum(report: &Report) -> Chart<'static> {
    let share = |row: &Row| {
        let optimum = report.optimum_at(row.hits.blocks)?;
        (optimum.hits > 0).then(|| row.hits.hits as f64 / optimum.hits as f64)
    };
    let curves = curves(report, share);
    Chart {
        y: Scale::linear(values(&curves).chain([1.0])),
        tick: percent_tick,
        value: percent,
        ..plain("Share of the optimum by pool size", report, curves)
    }
}

fn evictions(report: &Report) -> Chart<'static> {
    let share = |row: &Row| Some(row.hits.evictions as f64 / row.hits.blocks_requested as f64);
    let curves = curves(report, share);
    Chart {
        tick: percent_tick,
        value: percent,
        ..plain("Evictions by pool size", report, curves)
    }
}

fn throughput(report: &Report) -> Chart<'static> {
    let curves = curves(report, |row| Some(row.million_blocks_per_second));
    plain("Throughput by pool size", report, curves)
}

/// Charts the latency percentiles on one scale, so that they can be compared.
fn latencies(report: &Report) -> [(&'static str, Chart<'static>); 3] {
    let rows = report.rows.iter();
    let y = Scale::log(rows.flat_map(|row| [row.p50_us, row.p99_us, row.p99_9_us]));
    let chart = |heading, title, value: fn(&Row) -> f64| {
        let chart = Chart {
            y,
            tick: microseconds,
            value: microseconds,
            ..plain(title, report, curves(report, |row| Some(value(row))))
        };
        (heading, chart)
    };
    [
        chart("Median latency", "Median latency by pool size", |row| {
            row.p50_us
        }),
        chart(
            "99th percentile",
            "99th percentile of the latency by pool size",
            |row| row.p99_us,
        ),
        chart(
            "99.9th percentile",
            "99.9th percentile of the latency by pool size",
            |row| row.p99_9_us,
        ),
    ]
}

/// Returns a chart of curves with the default scales and formats.
fn plain(title: &'static str, report: &Report, curves: Vec<Curve>) -> Chart<'static> {
    let sizes = report.rows.iter().map(|row| row.hits.blocks as f64);
    Chart {
        title,
        x: Scale::log(sizes),
        y: Scale::linear(values(&curves)),
        tick: |value| without_zeros(value, 2),
        value: three_digits,
        curves,
        optimum: Vec::new(),
        distinct_blocks: report.workload.distinct_blocks,
    }
}

fn curves(report: &Report, value: impl Fn(&Row) -> Option<f64>) -> Vec<Curve> {
    let curve = |&policy| {
        let rows = report.rows.iter().filter(|row| row.policy == policy);
        let point = |row: &Row| {
            Some(Point {
                blocks: row.hits.blocks,
                value: value(row)?,
            })
        };
        let mut points: Vec<Point> = rows.filter_map(point).collect();
        points.sort_by_key(|point| point.blocks);
        Curve { policy, points }
    };
    report.config.policies.iter().map(curve).collect()
}

fn values(curves: &[Curve]) -> impl Iterator<Item = f64> {
    let points = curves.iter().flat_map(|curve| &curve.points);
    points.map(|point| point.value)
}

fn percent_tick(share: f64) -> String {
    format!("{}%", without_zeros(share * 100.0, 2))
}

fn microseconds(value: f64) -> String {
    let (value, unit) = match value {
        us if us >= 1e6 => (us / 1e6, "s"),
        us if us >= 1e3 => (us / 1e3, "ms"),
        us => (us, "µs"),
    };
    let decimals = if value < 9.995 { 2 } else { 1 };
    format!("{} {unit}", without_zeros(value, decimals))
}

/// Tabulates the hit rates, with one row per pool size and one column per policy.
fn rates(report: &Report) -> Markup {
    let config = &report.config;
    let share = |blocks: usize| blocks as f64 / report.workload.distinct_blocks as f64;
    html! {
        section {
            h2 { "Hit rates" }
            p {
                "Bold: the best policy."
                @if report.has_refusals() { " Refused: " (REFUSAL) "." }
                @if !report.optimum.is_empty() { " Optimum: " (OPTIMUM) @if config.threads > 1 { ", " (OPTIMUM_OF_ONE) } "." }
            }
            div.scroll {
                table {
                    thead {
                        tr {
                            th { "blocks" }
                            th { "of distinct blocks" }
                            @for &policy in &report.config.policies {
                                th { (policy) }
                            }
                            @if !report.optimum.is_empty() {
                                th { "optimum" }
                            }
                        }
                    }
                    tbody {
                        @for (blocks, group) in report.by_size() {
                            @let best = Report::best_of(group);
                            tr {
                                th { (grouped(blocks)) }
                                td { (percent(share(blocks))) }
                                @for row in group {
                                    td.best[row.hits.hit_rate == best] { (rate(&row.hits)) }
                                }
                                @if let Some(optimum) = report.optimum_at(blocks) {
                                    td { (rate(optimum)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Shows a hit rate, and the number of refused requests if there were any.
fn rate(hits: &Hits) -> Markup {
    html! {
        (percent(hits.hit_rate))
        @if hits.refusals > 0 { " (" (grouped(hits.refusals)) " refused)" }
    }
}

/// Tabulates all results of all runs.
fn runs(report: &Report) -> Markup {
    let names = [
        "policy",
        "blocks",
        "hit rate",
        "refusals",
        "hits",
        "evictions",
        "million blocks/s",
        "p50 µs",
        "p99 µs",
        "p99.9 µs",
    ];
    html! {
        section {
            details {
                summary { h2 { "All runs" } }
                div.scroll {
                    table {
                        thead {
                            tr {
                                @for name in names {
                                    th { (name) }
                                }
                            }
                        }
                        @for (blocks, group) in report.by_size() {
                            tbody {
                                @for row in group {
                                    tr {
                                        th { (row.policy) }
                                        td { (grouped(blocks)) }
                                        td { (percent(row.hits.hit_rate)) }
                                        td { (grouped(row.hits.refusals)) }
                                        td { (grouped(row.hits.hits)) }
                                        td { (grouped(row.hits.evictions)) }
                                        td { (three_digits(row.million_blocks_per_second)) }
                                        td { (three_digits(row.p50_us)) }
                                        td { (three_digits(row.p99_us)) }
                                        td { (three_digits(row.p99_9_us)) }
                                    }
                                }
                                @if let Some(hits) = report.optimum_at(blocks) {
                                    tr {
                                        th { "optimum" }
                                        td { (grouped(blocks)) }
                                        td { (percent(hits.hit_rate)) }
                                        td { (grouped(hits.refusals)) }
                                        td { (grouped(hits.hits)) }
                                        td { (grouped(hits.evictions)) }
                                        td colspan="4" {}
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Source;
    use crate::report::tests::report;

    #[test]
    fn it_loads_nothing() {
        let page = page(&report());
        for loads in [
            "http:", "https:", "src=", "href=", "<script", "@import", "url(",
        ] {
            assert!(!page.contains(loads), "{loads}");
        }
    }

    #[test]
    fn all_numbers_are_there() {
        let page = page(&report());
        for number in ["12.50%", "25.00%", "50.00%", "999,999,999", "12.3 ms"] {
            assert!(page.contains(number), "{number}");
        }
        // Every chart has a curve per policy, and the first chart is drawn in two sizes.
        assert_eq!(page.matches("<g class=\"lineage-tick\">").count(), 2 + 6);
        assert_eq!(page.matches("class=\"band\"").count(), 1 + 2);
    }

    #[test]
    fn refusals_are_next_to_the_hit_rate() {
        let mut report = report();
        let refused = page(&report);
        assert!(refused.contains("25.00% (99,999,999 refused)"));
        assert!(refused.contains(REFUSAL));
        report.rows.iter_mut().for_each(|row| row.hits.refusals = 0);
        report.optimum.clear();
        let served = page(&report);
        assert!(!served.contains(" refused"));
    }

    #[test]
    fn it_says_what_was_assumed() {
        let page = page(&report());
        assert!(page.contains("16 requests in flight") && page.contains(IN_FLIGHT));
        assert!(!page.contains(OPTIMUM_OF_ONE));
    }

    #[test]
    fn without_the_optimum_it_is_not_mentioned() {
        let mut report = report();
        report.optimum.clear();
        let body = page(&report).replace(STYLE, "");
        assert!(!body.to_lowercase().contains("optimum;") && !body.contains("class=\"band\""));
    }

    #[test]
    fn names_of_files_are_text() {
        let mut report = report();
        report.config.source = Source::Trace {
            file: "<b>.jsonl".to_owned(),
            span_seconds: 60.0,
        };
        assert!(page(&report).contains("&lt;b&gt;.jsonl"));
    }

    #[test]
    fn labels_tell_neighbours_apart() {
        assert_eq!([0.025, 0.05].map(percent_tick), ["2.5%", "5%"]);
    }

    #[test]
    fn latencies_have_a_unit() {
        assert_eq!(microseconds(0.5), "0.5 µs");
        assert_eq!(microseconds(100.0), "100 µs");
        assert_eq!(microseconds(2_500.0), "2.5 ms");
        assert_eq!(microseconds(1e6), "1 s");
    }
}
