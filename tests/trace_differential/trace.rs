//! The conversation trace: where it is found, and its requests as chains of sequence hashes.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use dynamo_tokens::PositionalLineageHash;
use serde::Deserialize;

const FILE: &str = "mooncake_conversation.jsonl";

/// Names the folder that holds the trace.
const FOLDER_VARIABLE: &str = "KVBM_TRACES";

/// Sets how many requests are replayed.
const REQUESTS_VARIABLE: &str = "KVBM_TRACE_REQUESTS";

/// The number of requests that are replayed by default. Unoptimized code replays a prefix.
const DEFAULT_REQUESTS: usize = if cfg!(debug_assertions) {
    5_000
} else {
    usize::MAX
};

/// One line of the trace. Its other fields do not matter here.
#[derive(Deserialize)]
struct Line {
    hash_ids: Vec<u64>,
}

/// The sequence hashes of one request, root first.
pub type Request = Vec<PositionalLineageHash>;

/// Returns the requests in file order, or `None` if there is no trace.
pub fn requests() -> Option<&'static [Request]> {
    static REQUESTS: OnceLock<Option<Vec<Request>>> = OnceLock::new();
    REQUESTS.get_or_init(load).as_deref()
}

fn load() -> Option<Vec<Request>> {
    let Some(path) = find() else {
        // Written around the test harness, which hides what a passing test prints.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: no {FILE}; set {FOLDER_VARIABLE} to the folder that holds it"
        );
        return None;
    };
    let text = fs::read_to_string(&path).expect("the trace is readable");
    let requests = text.lines().take(limit()).map(request).collect();
    Some(requests)
}

/// Returns the file in the folder that the environment names, or otherwise in a `traces`
/// folder of any directory next to the checkout.
fn find() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os(FOLDER_VARIABLE) {
        let path = Path::new(&folder).join(FILE);
        assert!(path.is_file(), "{FOLDER_VARIABLE} holds no {FILE}");
        return Some(path);
    }
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    fs::read_dir(beside)
        .ok()?
        .flatten()
        .map(|entry| entry.path().join("traces").join(FILE))
        .find(|path| path.is_file())
}

fn limit() -> usize {
    match std::env::var(REQUESTS_VARIABLE) {
        Ok(limit) => limit.parse().expect("the limit is a number"),
        Err(_) => DEFAULT_REQUESTS,
    }
}

/// Turns a line's block ids into a chain of hashes. An id stands for a block together with
/// everything before it, so equal prefixes of ids become equal hashes.
fn request(line: &str) -> Request {
    let line: Line = serde_json::from_str(line).expect("every line is a request");
    let mut hashes: Request = Vec::with_capacity(line.hash_ids.len());
    for id in line.hash_ids {
        hashes.push(match hashes.last() {
            Some(parent) => parent.extend(id),
            None => PositionalLineageHash::root(id),
        });
    }
    hashes
}
