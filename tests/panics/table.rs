//! The table: every place × every operation that reaches it × every moment.
//!
//! The rows of a place run in a child process, so that a row that aborts is identified and the
//! others still run.

use std::env;
use std::process::{Command, exit};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use crate::operation::operations;
use crate::place::Place;
use crate::reach::Case;
use crate::runner::{judge, judge_control, moments, run};
use crate::state;
use crate::world::Tiers;

/// The environment variable that tells a child which place's rows to run, and where to start.
const PLACE: &str = "KVBM_PANICS_PLACE";
const FROM: &str = "KVBM_PANICS_FROM";

/// Far longer than a row takes.
const LONG: Duration = Duration::from_secs(120);

/// Returns all settings of a place.
fn cases(place: Place) -> impl Iterator<Item = Case> {
    let tiers = [Tiers::One, Tiers::Two, Tiers::TwoThatShare];
    operations().into_iter().flat_map(move |operation| {
        tiers.into_iter().flat_map(move |tiers| {
            [(false, false), (true, false), (false, true), (true, true)]
                .into_iter()
                .map(move |(has_events, unwinds)| Case {
                    place,
                    operation,
                    tiers,
                    has_events,
                    unwinds,
                })
                .filter(Case::is_possible)
        })
    })
}

/// Where a child starts: at a case, and at one of its rows.
type At = (usize, usize);

/// A message from a child.
enum Line {
    /// A row begins.
    Row(At, String),
    /// The row has failed.
    Fault(String),
}

impl Line {
    fn say(&self) {
        match self {
            Self::Row((case, row), name) => println!("\nrow\t{case},{row}\t{name}"),
            Self::Fault(what) => println!("\nfault\t{what}"),
        }
    }

    fn parse(line: &str) -> Option<Self> {
        let mut parts = line.splitn(3, '\t');
        match (parts.next()?, parts.next(), parts.next()) {
            ("row", Some(at), Some(name)) => {
                let (case, row) = at.split_once(',')?;
                Some(Self::Row(
                    (case.parse().ok()?, row.parse().ok()?),
                    name.to_owned(),
                ))
            }
            ("fault", Some(what), None) => Some(Self::Fault(what.to_owned())),
            _ => None,
        }
    }
}

/// Aborts the process if a row does not end.
fn watch(row: &'static AtomicU64) {
    thread::spawn(move || {
        loop {
            let before = row.load(Relaxed);
            thread::sleep(LONG);
            if row.load(Relaxed) == before {
                Line::Fault("it does not come to an end".into()).say();
                exit(2);
            }
        }
    });
}

fn from() -> At {
    let text = env::var(FROM).expect("it is set");
    let mut numbers = text.split(',').map(|it| it.parse().expect("a number"));
    let mut next = || numbers.next().expect("two numbers");
    (next(), next())
}

/// Runs rows if this process is a child.
#[test]
fn child() {
    static ROWS: AtomicU64 = AtomicU64::new(0);
    let Ok(name) = env::var(PLACE) else {
        return;
    };
    let (from_case, from_row) = from();
    let place = PLACES
        .into_iter()
        .find(|place| format!("{place:?}") == name);
    let place = place.expect("a place");
    if from_case > 0 {
        // There has been a failure.
        state::be_impatient();
    }
    watch(&ROWS);
    let report = |wrong: Vec<String>| wrong.into_iter().for_each(|what| Line::Fault(what).say());
    for (number, case) in cases(place).enumerate().skip(from_case) {
        let first = if number == from_case { from_row } else { 0 };
        let begin = |row: usize, name: String| {
            ROWS.fetch_add(1, Relaxed);
            let is_due = row >= first;
            if is_due {
                Line::Row((number, row), name).say();
            }
            is_due
        };
        let is_due = begin(0, format!("{}, without bombs", case.name()));
        let control = run(&case, None);
        if is_due {
            report(judge_control(&case, &control));
        }
        if !case.reaches() || control.calls == 0 {
            continue;
        }
        for (row, armed) in (1..).zip(moments(&case, control.calls)) {
            let when = format!("{}, {armed} of {} calls", case.name(), control.calls);
            if begin(row, when) {
                report(judge(&case, &armed, &run(&case, Some(&armed)), &control));
            }
        }
    }
}

/// Runs all rows of a place.
fn run_all(place: Place) {
    let mut from = (0, 0);
    let mut failed: Vec<String> = Vec::new();
    loop {
        let program = env::current_exe().expect("this program has a path");
        let output = Command::new(program)
            .args(["--exact", "table::child", "--nocapture", "--test-threads=1"])
            .env(PLACE, format!("{place:?}"))
            .env(FROM, format!("{},{}", from.0, from.1))
            .output()
            .expect("a child can be started");
        let text = String::from_utf8_lossy(&output.stdout);
        let mut row = None;
        let mut faults = 0;
        for line in text.lines().filter_map(Line::parse) {
            match line {
                Line::Row(at, name) => (row, faults) = (Some((at, name)), 0),
                Line::Fault(what) => {
                    let (_, name) = row.as_ref().expect("faults are a row's");
                    faults += 1;
                    failed.push(format!("{name}: {what}"));
                }
            }
        }
        if output.status.success() {
            break;
        }
        let Some(((case, number), name)) = row else {
            panic!("a child did not begin: {output:?}");
        };
        if faults == 0 {
            let status = output.status;
            failed.push(format!("{name}: the process was ended, {status}"));
        }
        from = (case, number + 1);
    }
    assert!(
        failed.is_empty(),
        "{} faults:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

/// Defines a test per place, and the list of places.
macro_rules! places {
    ($($test:ident: $place:ident,)*) => {
        const PLACES: [Place; [$(Place::$place),*].len()] = [$(Place::$place),*];

        $(
            #[test]
            fn $test() {
                run_all(Place::$place);
            }
        )*
    };
}

places! {
    unique_attachment: UniqueAttachment,
    attachment: Attachment,
    attachments: Attachments,
    callback_state: CallbackState,
    touch_callback: TouchCallback,
    tracker_touch: TrackerTouch,
    tracker_touch_all: TrackerTouchAll,
    tracker_count: TrackerCount,
    tracker_drop: TrackerDrop,
    policy_insert: PolicyInsert,
    policy_remove: PolicyRemove,
    policy_pop: PolicyPop,
    policy_set_priority: PolicySetPriority,
    policy_is_leaf_first: PolicyIsLeafFirst,
    policy_drop: PolicyDrop,
    emission_should_emit: EmissionShouldEmit,
    emission_drop: EmissionDrop,
    low_call: LowCall,
    low_drop: LowDrop,
}
