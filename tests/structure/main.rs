//! Does the code have the structure that the architecture page says it has?
//!
//! The test reads the sources and their imports; it calls nothing in the crate.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of `src`, from the ground up. A room imports only from rooms before it.
const LAYERS: [&str; 21] = [
    "sync",
    "ids",
    "key",
    "duplication",
    "retention",
    "user_code",
    "tinylfu",
    "policy",
    "eviction",
    "registry",
    "metrics",
    "engine",
    "blocks",
    "leases",
    "manager",
    "sequence",
    "integrations",
    "pubsub",
    "events",
    "pools",
    "testing",
];

/// Rooms that look into all others, in test builds only.
const TESTS: [&str; 2] = ["models", "suspension"];

/// What the crate's root exports, and the rooms that own it.
const ROOT: [(&str, &str); 13] = [
    ("AuditError", "engine"),
    ("AuditReport", "engine"),
    ("BlockId", "ids"),
    ("BlockManager", "manager"),
    ("BlockMetadata", "ids"),
    ("BlockRegistry", "registry"),
    ("CompleteBlock", "blocks"),
    ("ImmutableBlock", "blocks"),
    ("KvbmSequenceHashProvider", "ids"),
    ("ManagerId", "ids"),
    ("MutableBlock", "blocks"),
    ("SequenceHash", "ids"),
    ("WeakBlock", "blocks"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The source files, by their paths in `src`, without tests and models.
fn sources() -> BTreeMap<String, String> {
    let (mut sources, mut folders) = (BTreeMap::new(), vec![root()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap();
                let is_test = name.split(['/', '.']).any(|part| {
                    TESTS.contains(&part) || part.starts_with("test") && part != "testing"
                });
                if !is_test {
                    sources.insert(
                        name.to_owned(),
                        shipped(&fs::read_to_string(&path).unwrap()),
                    );
                }
            }
        }
    }
    sources
}

/// The part of a file before its unit tests, without comments.
fn shipped(source: &str) -> String {
    let end = source.find("\nmod tests {").unwrap_or(source.len());
    let lines = source[..end].lines();
    let code = lines.filter(|line| !line.trim_start().starts_with("//"));
    code.collect::<Vec<_>>().join("\n")
}

fn room(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap()
}

/// The rooms that a file imports from.
fn imports(source: &str) -> BTreeSet<&str> {
    let mut rooms = BTreeSet::new();
    for (at, path) in source.match_indices("use crate::") {
        let tree = &source[at + path.len()..];
        let tree = &tree[..tree.find(';').unwrap_or(tree.len())];
        let names = match tree.strip_prefix('{') {
            Some(list) => list.split(',').collect(),
            None => vec![tree],
        };
        for name in names {
            let name = name.trim().split([':', '}', ' ']).next().unwrap();
            let owner = ROOT.iter().find(|(exported, _)| *exported == name);
            rooms.insert(owner.map_or(name, |(_, room)| room));
        }
    }
    rooms.remove("");
    rooms
}

#[test]
fn imports_point_downwards() {
    let place = |room: &str| LAYERS.iter().position(|&layer| layer == room);
    let mut arrows = 0;
    for (file, source) in sources() {
        // The crate's root, and a program, which is a crate of its own.
        if file == "lib.rs" || room(&file) == "bin" {
            continue;
        }
        let from = place(room(&file)).unwrap_or_else(|| panic!("{file} is in no layer"));
        for import in imports(&source) {
            if TESTS.contains(&import) {
                continue;
            }
            let to = place(import).unwrap_or_else(|| panic!("{file} imports {import}"));
            assert!(to <= from, "{file} imports {import}, which is above it");
            arrows += usize::from(to < from);
        }
    }
    assert!(arrows > 100, "{arrows} imports were found");
}

#[test]
fn inside_the_engine_too() {
    for (file, source) in sources() {
        if file.starts_with("engine/parts/") {
            for above in ["engine::ops", "engine::hold", "engine::store"] {
                assert!(!source.contains(above), "{file} knows {above}");
            }
        }
        let has_methods = file.starts_with("engine/") && source.contains("impl Store {");
        let is_of_store = file == "engine/store.rs" || file.starts_with("engine/ops/");
        assert!(
            !has_methods || is_of_store,
            "{file} has methods of the store"
        );
        let is_cast = source.contains(".owner()");
        assert!(
            !is_cast || file == "engine/store.rs",
            "{file} goes from a slot to its store"
        );
    }
}

/// Guards are made of the engine's holds, and need no unsafe code of their own.
#[test]
fn guards_are_safe_code() {
    for (file, source) in sources() {
        if room(&file) == "blocks" {
            assert!(!source.contains("unsafe"), "{file}");
        }
    }
}

/// Every path that the architecture page names leads to a file or folder.
#[test]
fn the_architecture_page_names_what_there_is() {
    let page = fs::read_to_string(root().join("architecture.md")).unwrap();
    let top = root().parent().unwrap().to_owned();
    let mut paths = 0;
    for quoted in page.split('`').skip(1).step_by(2) {
        let is_path = quoted.contains('/') && !quoted.contains(['(', ' ', ':']);
        if is_path {
            let quoted = quoted.trim_end_matches('/');
            let folders = ["src", "src/engine", "src/events", ""];
            let mut candidates = folders.iter().map(|folder| top.join(folder).join(quoted));
            let exists = candidates.any(|path| path.exists() || path.with_extension("rs").exists());
            assert!(exists, "the page names {quoted}");
            paths += 1;
        }
    }
    assert!(paths > 30, "{paths} paths were found");
}
