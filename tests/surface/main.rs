//! One source, both crates: every public item of `kvbm-logical` is used by a program
//! that is compiled against it and against this crate, and must say the same.
//!
//! Each file but this one and the two sides is such a program. [`every_item_is_used`] holds them against
//! the list of items, so that none is forgotten.

/// Notes what an expression comes to.
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

        /// The text of all programs.
        const PROGRAMS: &[&str] = &[$(include_str!(concat!(stringify!($program), ".rs"))),*];
    };
}

same!(blocks events integrations manager metrics registry sequence testing tinylfu);

/// `items.txt` has a line for each type or module, with the names of what it has.
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
