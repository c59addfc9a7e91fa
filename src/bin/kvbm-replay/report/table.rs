//! The report as a table for the terminal.

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, Table, TableComponent};

use super::numbers::{grouped, percent, three_digits};
use super::{HIT_RATE, Hits, IN_FLIGHT, OPTIMUM, OPTIMUM_OF_ONE, REFUSAL, Report, Row};

/// Formats the report as a table that fits into 80 columns.
///
/// If `styled`, the best hit rate of each pool size is bold.
pub fn table(report: &Report, styled: bool) -> String {
    let mut table = Table::new();
    table
        .load_preset(NOTHING)
        .set_style(TableComponent::HeaderLines, '─')
        .set_header([
            "policy",
            "blocks",
            "hit\nrate",
            "refusals",
            "evictions",
            "million\nblocks/s",
            "p50\nµs",
            "p99\nµs",
            "p99.9\nµs",
        ]);
    if styled {
        table.enforce_styling();
    }
    for (blocks, group) in report.by_size() {
        if !table.is_empty() {
            table.add_row([""]);
        }
        let best = Report::best_of(group);
        for row in group {
            table.add_row(run(row, styled && row.hits.hit_rate == best));
        }
        if let Some(optimum) = report.optimum_at(blocks) {
            table.add_row(counts(Cell::new("optimum"), optimum, false));
        }
    }
    let last = table.column_count() - 1;
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if index == last { 0 } else { 2 }));
        if index > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    // Without borders, rows would end in spaces.
    let rows = table.trim_fmt();
    let mut text = format!(
        "{}\n\n{rows}\n\nhit rate = {HIT_RATE}\np50, p99, p99.9 = latency of a request\n\
         in flight = {}\n",
        heading(report),
        IN_FLIGHT.replace("; ", ";\n            "),
    );
    if report.has_refusals() {
        text.push_str(&format!("refusal = {REFUSAL}\n"));
    }
    if !report.optimum.is_empty() {
        text.push_str(&format!("optimum = {OPTIMUM}"));
        if report.config.threads > 1 {
            text.push_str(&format!(",\n          {OPTIMUM_OF_ONE}"));
        }
        text.push('\n');
    }
    text
}

fn run(row: &Row, best: bool) -> Vec<Cell> {
    let mut cells = counts(Cell::new(row.policy), &row.hits, best);
    cells.extend(
        [
            row.million_blocks_per_second,
            row.p50_us,
            row.p99_us,
            row.p99_9_us,
        ]
        .map(|time| Cell::new(three_digits(time))),
    );
    cells
}

fn counts(name: Cell, hits: &Hits, best: bool) -> Vec<Cell> {
    let hit_rate = Cell::new(percent(hits.hit_rate));
    vec![
        name,
        Cell::new(hits.blocks),
        if best {
            hit_rate.add_attribute(Attribute::Bold)
        } else {
            hit_rate
        },
        Cell::new(hits.refusals),
        Cell::new(hits.evictions),
    ]
}

/// Returns a description of what was run, in three lines.
fn heading(report: &Report) -> String {
    let workload = report.workload;
    format!(
        "{}: {}\n\
         {} blocks of {} tokens requested, {} of them distinct\n\
         {}",
        report.config.source.title(),
        report.config.source.extent(workload.requests),
        grouped(workload.blocks_requested),
        report.config.block_size,
        grouped(workload.distinct_blocks),
        report.config.conditions(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn it_fits_80_columns() {
        let mut report = report();
        report.config.threads = 256;
        let text = table(&report, false);
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        let rows = |name| text.lines().filter(move |line| line.starts_with(name));
        assert_eq!(rows("lineage-tick").count(), 2);
        assert_eq!(rows("optimum  ").count(), 2);
        assert!(text.contains(HIT_RATE) && text.contains(OPTIMUM));
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn refusals_are_next_to_the_hit_rate_and_explained() {
        let mut report = report();
        let text = table(&report, false);
        assert!(text.contains("25.00%  99999999"), "{text}");
        assert!(text.contains(REFUSAL));
        report.rows.iter_mut().for_each(|row| row.hits.refusals = 0);
        assert!(table(&report, false).contains(REFUSAL), "of the optimum");
        report.optimum.clear();
        assert!(!table(&report, false).contains(REFUSAL));
    }

    #[test]
    fn it_says_what_was_assumed() {
        let text = table(&report(), false);
        assert!(text.contains("1 thread, 16 requests in flight"));
        assert!(text.contains("a different limit may rank the policies differently"));
        assert!(!text.contains(OPTIMUM_OF_ONE));
        let mut report = report();
        report.config.threads = 2;
        assert!(table(&report, false).contains(OPTIMUM_OF_ONE));
    }

    #[test]
    fn the_best_hit_rate_of_a_size_is_bold() {
        let text = table(&report(), true);
        let bold = |line: &&str| line.contains("\u{1b}[1m");
        assert_eq!(text.lines().filter(bold).count(), 3);
    }
}
