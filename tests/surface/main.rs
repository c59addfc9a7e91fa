//! One source, two crates: programs that use every public item of `kvbm-logical` are compiled
//! against it and against this crate, and must produce the same output.
//!
//! Each file except this one, `ours` and `reference` is such a program. [`every_item_is_used`]
//! checks them against a list of all items, so that none is missed.

/// Records an expression and its value.
macro_rules! say {
    ($said:ident, $value:expr) => {
        $said.push(format!("{} = {:?}", stringify!($value), $value))
    };
}

mod ours;
mod reference;

macro_rules! same {
    ($($program:ident)*) => {
        $(
            #[test]
            fn $program() {
                let (ours, reference) = (ours::$program::run(), reference::$program::run());
                for (ours, reference) in ours.iter().zip(&reference) {
                    assert_eq!(ours, reference);
                }
                assert_eq!(ours.len(), reference.len());
                assert!(!ours.is_empty());
            }
        )*

        /// The source of all programs.
        const PROGRAMS: &[&str] = &[$(include_str!(concat!(stringify!($program), ".rs"))),*];
    };
}

same!(blocks events integrations manager metrics registry sequence testing tinylfu);

/// `items.txt` has a line per type or module, with the names of its items.
#[test]
fn every_item_is_used() {
    let words: std::collections::HashSet<&str> = PROGRAMS
        .iter()
        .flat_map(|program| program.split(|c: char| !c.is_alphanumeric() && c != '_'))
        .collect();
    let mut items = 0;
    for line in include_str!("items.txt").lines() {
        let (owner, names) = line.split_once(':').expect("an owner and its items");
        for name in names.split_whitespace().chain(owner.rsplit('.').next()) {
            items += 1;
            assert!(words.contains(name), "{name} of {owner} is not used");
        }
    }
    assert!(items > 300, "only {items} items");
}
