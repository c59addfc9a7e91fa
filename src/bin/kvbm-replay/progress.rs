//! The progress bar on the terminal.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

/// The progress over all requests of all runs, drawn on standard error.
///
/// Nothing is drawn unless standard error is a terminal. Dropping this removes the bar.
pub struct Progress {
    bar: ProgressBar,
    /// The number of requests in completed runs.
    ended: u64,
}

impl Progress {
    /// Creates a bar for `requests` requests.
    pub fn new(requests: usize) -> Self {
        let bar = if io::stderr().is_terminal() {
            let style = ProgressStyle::with_template("{bar:32} {percent:>3}%  {eta:>4}  {msg}")
                .expect("the template is well-formed");
            ProgressBar::new(requests as u64)
                .with_style(style)
                .with_finish(ProgressFinish::AndClear)
        } else {
            ProgressBar::hidden()
        };
        Self { bar, ended: 0 }
    }

    /// Shows the name of the run that begins.
    pub fn begin(&mut self, name: String) {
        self.bar.set_message(name);
    }

    /// Moves the bar to `done` requests of the current run.
    pub fn update(&mut self, done: usize) {
        self.bar.set_position(self.ended + done as u64);
    }

    /// Marks a run of `requests` requests as completed.
    pub fn end(&mut self, requests: usize) {
        self.ended += requests as u64;
        self.bar.set_position(self.ended);
    }
}
