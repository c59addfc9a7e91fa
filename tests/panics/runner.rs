//! Runs an operation with bombs and without, and compares the two runs.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::fuse::{self, Fuse};
use crate::reach::{Case, Lands};
use crate::state::{Facts, differences};
use crate::world::World;

/// When the bombs go off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Armed {
    /// The calls of the operation at which they do, counted from 0.
    pub at: Vec<u32>,
    /// How many times in a row the drop of the payload panics.
    pub depth: u32,
}

impl fmt::Display for Armed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {:?}", self.at)?;
        if self.depth > 0 {
            f.write_str(", with payloads that panic")?;
        }
        Ok(())
    }
}

/// The result of a run.
pub struct Outcome {
    /// The panic that reached the caller: the bomb's call, or another panic's message.
    pub panicked: Option<Result<u32, String>>,
    pub calls: u32,
    gone_off: Vec<u32>,
    said: Vec<String>,
    /// The state while the results exist, if they do.
    held: Option<Facts>,
    after: Facts,
    end: Facts,
    /// What the events said while the results existed, and afterwards.
    mirrored: [Vec<u64>; 2],
    /// What the events may omit.
    spared: Vec<u64>,
    faults: Vec<String>,
}

/// The payload with which the thread unwinds on purpose.
struct Carrier;

/// Calls a function when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Runs an operation and returns its panic.
fn execute(case: &Case, world: &mut World) -> Option<Box<dyn Any + Send>> {
    let run = case.operation.run;
    if !case.unwinds {
        return catch_unwind(AssertUnwindSafe(|| run(world))).err();
    }
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _on_drop = OnDrop(|| run(world));
        resume_unwind(Box::new(Carrier));
    }));
    unwound.err().filter(|payload| !payload.is::<Carrier>())
}

/// Performs one run.
pub fn run(case: &Case, armed: Option<&Armed>) -> Outcome {
    let fuse = match armed {
        Some(armed) => Fuse::new(&armed.at, armed.depth),
        None => Fuse::new(&[], 0),
    };
    let mut faults = Vec::new();
    let mut world = World::new(
        case.place,
        case.operation,
        case.tiers,
        case.has_events,
        std::sync::Arc::clone(&fuse),
    );
    (case.operation.prepare)(&mut world);
    faults.extend(world.settle().err().map(|it| format!("before: {it}")));

    fuse.light();
    let panicked = execute(case, &mut world);
    faults.extend(world.settle().err());
    fuse.put_out();
    let calls = fuse.calls();

    let panicked = panicked
        .map(|payload| fuse::blast(payload).map_err(|payload| fuse::message(&*payload).to_owned()));
    faults.extend(world.faults());
    let held = (panicked.is_none() || case.operation.keeps).then(|| held(&mut world));
    let said = world.said.clone();
    let mirrored = world.mirrored();
    world.let_go();
    faults.extend(world.settle().err());
    let mirrored = [mirrored, world.mirrored()];
    let spared = world.spared_numbers();
    let after = world.facts();
    faults.extend(world.faults());
    let end = catch_unwind(AssertUnwindSafe(|| world.end()));
    let (end, in_the_end) = end.unwrap_or_else(|payload| {
        let what = format!("a panic in the end: {}", fuse::message(&*payload));
        (Vec::new(), vec![what])
    });
    faults.extend(in_the_end);
    faults.dedup();
    Outcome {
        panicked,
        calls,
        gone_off: fuse.gone_off(),
        said,
        held,
        after,
        end,
        mirrored,
        spared,
        faults,
    }
}

/// Returns the state while the results still exist.
fn held(world: &mut World) -> Facts {
    let hashes: Vec<_> = world
        .immutable
        .iter()
        .map(|block| block.sequence_hash().as_u128())
        .collect();
    let mut facts = vec![
        ("mutable blocks", world.mutable.len().to_string()),
        ("complete blocks", world.complete.len().to_string()),
        ("immutable blocks", format!("{hashes:?}")),
        ("handles", world.handles.len().to_string()),
        ("reported as evicted", world.evicted(&world.evicted)),
    ];
    facts.extend(world.facts());
    facts
}

/// Returns what is wrong with a run without bombs.
pub fn judge_control(case: &Case, control: &Outcome) -> Vec<String> {
    let mut wrong = control.faults.clone();
    if let Some(panic) = &control.panicked {
        wrong.push(format!("a panic without a bomb: {panic:?}"));
    }
    match (case.reaches(), control.calls) {
        (true, 0) if !case.is_open() => wrong.push("the operation does not reach the place".into()),
        (false, 1..) => wrong.push(format!(
            "the operation reaches the place, {} times, and the table does not say so",
            control.calls
        )),
        _ => {}
    }
    wrong
}

/// Returns what is wrong with a run with bombs.
pub fn judge(case: &Case, armed: &Armed, outcome: &Outcome, control: &Outcome) -> Vec<String> {
    let mut wrong = outcome.faults.clone();
    let mut gone_off = outcome.gone_off.clone();
    gone_off.sort_unstable();
    if gone_off != armed.at && !case.is_race() {
        wrong.push(format!("bombs went off at {gone_off:?} only"));
    }
    let first = outcome.gone_off.first().copied();
    let lands = match first {
        Some(_) => case.lands(),
        None => Lands::Nowhere,
    };
    match (lands, &outcome.panicked) {
        (_, Some(Err(message))) => wrong.push(format!("another panic: {message}")),
        (Lands::Caller, None) => wrong.push("the panic did not go on to the caller".into()),
        (Lands::Nowhere, Some(_)) => wrong.push("the panic went on to the caller".into()),
        (Lands::Caller, Some(Ok(number))) if Some(*number) != first => {
            wrong.push(format!(
                "not the first panic went on, but that of call {number}"
            ));
        }
        _ => {}
    }
    if case.makes_all_calls() && outcome.calls != control.calls {
        wrong.push(format!(
            "{} calls, in the control run {}",
            outcome.calls, control.calls
        ));
    }
    if outcome.panicked.is_none() && outcome.said != control.said {
        wrong.push(format!(
            "it said {:?}, in the control run {:?}",
            outcome.said, control.said
        ));
    }
    let held = outcome.held.as_ref().zip(control.held.as_ref());
    let facts = held
        .into_iter()
        .chain([(&outcome.after, &control.after)])
        .chain((outcome.end.len() == control.end.len()).then_some((&outcome.end, &control.end)));
    for (facts, control) in facts {
        wrong.extend(differences(facts, control, case.is_race()));
    }
    let events = |outcome: &Outcome, at: usize, spared: &[u64]| -> Vec<u64> {
        let mirrored = outcome.mirrored[at].iter();
        mirrored.copied().filter(|n| !spared.contains(n)).collect()
    };
    // Lost results take their registrations along; another eviction order evicts other blocks.
    let has_all = outcome.held.is_some();
    for at in (0..2).filter(|&at| at > 0 || has_all) {
        let is = events(outcome, at, &outcome.spared);
        let control = events(control, at, &outcome.spared);
        if is != control && !case.place.ends_the_policy() {
            wrong.push(format!("events: {is:?}, in the control run {control:?}"));
        }
    }
    wrong.dedup();
    wrong
}

/// Returns the calls at which bombs go off, for an operation that makes this many calls.
pub fn moments(case: &Case, calls: u32) -> Vec<Armed> {
    let last = calls - 1;
    let mut once = vec![vec![0], vec![calls / 2], vec![last]];
    let mut twice = vec![vec![0, 1], vec![0, last], vec![calls / 2, calls / 2 + 1]];
    if case.place.ends_the_policy() {
        // The second is that of the policy's drop.
        twice = once.iter().map(|at| vec![at[0], at[0] + 1]).collect();
    }
    if case.unwinds {
        once.remove(1);
        twice.pop();
    }
    twice.retain(|at| at[0] < at[1] && (at[1] < calls || case.place.ends_the_policy()));
    let mut armed: Vec<Armed> = Vec::new();
    let mut add = |at: &Vec<u32>, depth| {
        let new = Armed {
            at: at.clone(),
            depth,
        };
        if !armed.contains(&new) {
            armed.push(new);
        }
    };
    // Bombs that never go off: a difference between two runs without bombs is not their fault.
    add(&Vec::new(), 0);
    once.iter().chain(&twice).for_each(|at| add(at, 0));
    once.iter().take(1).for_each(|at| add(at, 2));
    twice.iter().take(1).for_each(|at| add(at, 2));
    armed
}
