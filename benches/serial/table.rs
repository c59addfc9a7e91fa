//! The table of serial sections, in Markdown.

use std::fmt::{self, Display, Formatter};

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use crate::instructions::Instructions;
use crate::program::Scene;

pub struct Rows(Table);

impl Rows {
    pub fn new() -> Self {
        let mut table = Table::new();
        table.load_preset(ASCII_MARKDOWN).set_header([
            "",
            "all",
            "atomic",
            "any lock",
            "one lock",
            "which guards",
            "ceiling",
        ]);
        Self(table)
    }

    pub fn add(&mut self, scene: &Scene<'_>, counts: &Instructions) {
        let per_block = |count: u64| count as f64 / counts.blocks as f64;
        let busiest = counts.locks.iter().max_by_key(|lock| lock.held);
        let held = busiest.map_or(0, |lock| lock.held);
        self.0.add_row([
            scene.to_string(),
            format!("{:.0}", per_block(counts.total)),
            format!("{:.1}", per_block(counts.atomics)),
            format!("{:.1}", per_block(counts.locked)),
            format!("{:.1}", per_block(held)),
            busiest.map_or(String::new(), |lock| lock.guards.clone()),
            match held {
                0 => "none".into(),
                held => format!("{:.1}", counts.total as f64 / held as f64),
            },
        ]);
    }
}

impl Display for Rows {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut table = self.0.clone();
        for (at, column) in table.column_iter_mut().enumerate() {
            if ![0, 5].contains(&at) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        write!(f, "{table}")
    }
}
