//! Both crates, driven by the same case and compared.

use std::fmt::Debug;

use crate::forest::Forest;
use crate::ops::{Case, Op};
use crate::{ours, reference};

/// Runs a case on both sides. Returns an error that describes the first difference.
pub fn agree(case: &Case) -> Result<(), String> {
    let observe_every = case.config.observe_every;
    let mut pair = Pair::new(case);
    pair.run(&case.ops, observe_every)?;

    pair.ours.drop_managers();
    pair.reference.drop_managers();
    pair.compare("dropping the managers")?;
    pair.run(&case.afterlife, observe_every)?;

    for &shelf in &case.teardown {
        pair.ours.clear(shelf);
        pair.reference.clear(shelf);
        pair.compare(&format!("dropping every {shelf:?}"))?;
    }
    Ok(())
}

/// The two sides, which execute the same operations.
struct Pair {
    ours: ours::World,
    reference: reference::World,
    forest: Forest,
}

impl Pair {
    fn new(case: &Case) -> Self {
        Pair {
            ours: ours::World::new(&case.config),
            reference: reference::World::new(&case.config),
            forest: Forest::grow(&case.config.sprouts, case.config.block_size),
        }
    }

    fn apply(&mut self, step: usize, op: &Op) -> Result<(), String> {
        let ours = self.ours.apply(op, &self.forest);
        let reference = self.reference.apply(op, &self.forest);
        same(&ours, &reference, || {
            format!("result of step {step}: {op:?}")
        })
    }

    fn compare(&self, when: &str) -> Result<(), String> {
        let ours = self.ours.observe(&self.forest);
        let reference = self.reference.observe(&self.forest);
        same_items("tier", &ours.tiers, &reference.tiers, when)?;
        same_items("entry", &ours.entries, &reference.entries, when)?;
        same_items("handle", &ours.handles, &reference.handles, when)?;
        same(&ours, &reference, || format!("state after {when}"))
    }

    fn run(&mut self, ops: &[Op], observe_every: usize) -> Result<(), String> {
        for (step, op) in ops.iter().enumerate() {
            self.apply(step, op)?;
            if (step + 1) % observe_every == 0 {
                self.compare(&format!("step {step}: {op:?}"))?;
            }
        }
        self.compare("the last step")
    }
}

fn same<I: PartialEq + Debug>(
    ours: &I,
    reference: &I,
    what: impl FnOnce() -> String,
) -> Result<(), String> {
    if ours == reference {
        return Ok(());
    }
    let what = what();
    Err(format!(
        "{what}\n     ours: {ours:?}\nreference: {reference:?}"
    ))
}

/// Compares item by item, so that a failure shows the item that differs.
fn same_items<I: PartialEq + Debug>(
    what: &str,
    ours: &[I],
    reference: &[I],
    when: &str,
) -> Result<(), String> {
    for (number, (ours, reference)) in ours.iter().zip(reference).enumerate() {
        same(ours, reference, || format!("{what} {number} after {when}"))?;
    }
    Ok(())
}
