//! The trace parser accepts any bytes: it does not panic, needs memory proportional to the
//! bytes, and does what its documentation says.
//!
//! Accepted requests are compared with each line read as plain JSON. If a trace is rejected,
//! the reported line is checked: all lines before it must be requests or blank, and that line
//! neither.

#![no_main]

mod peak;
#[path = "../../src/bin/kvbm-replay/trace.rs"]
mod trace;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;

use trace::{MAX_LINE_BYTES, TOKENS_PER_ID, TraceError, TraceRequest};

/// The maximum number of bytes of memory per byte of trace. The JSON object `{"":1}` takes
/// most.
const MEMORY_PER_BYTE: usize = 256;

/// The maximum amount of memory that does not depend on the trace, in bytes.
const MEMORY: usize = 1 << 16;

/// The maximum length of a message, which must not repeat the contents of the trace.
const MAX_MESSAGE: usize = 300;

fuzz_target!(|bytes: &[u8]| {
    let (parsed, peak) = peak::of(|| trace::parse(bytes));
    assert!(
        peak <= MEMORY + MEMORY_PER_BYTE * bytes.len(),
        "{} bytes of trace took {peak} bytes of memory",
        bytes.len()
    );
    match parsed {
        Ok(requests) => {
            assert!(!requests.is_empty());
            assert_accepted(bytes, &requests);
        }
        Err(TraceError::Empty) => assert_accepted(bytes, &[]),
        Err(TraceError::Line { line, problem }) => {
            assert!(problem.to_string().len() <= MAX_MESSAGE, "{problem}");
            assert_refused_at(bytes, line);
        }
        Err(TraceError::Read(error)) => panic!("memory cannot be read: {error}"),
    }
});

fn is_blank(line: &[u8]) -> bool {
    line.trim_ascii().is_empty() && line.len() <= MAX_LINE_BYTES
}

/// Returns the lines that are not blank, with their numbers.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    (1..)
        .zip(bytes.split(|&byte| byte == b'\n'))
        .filter(|(_, line)| !is_blank(line))
}

fn assert_accepted(bytes: &[u8], requests: &[TraceRequest]) {
    assert_eq!(lines(bytes).count(), requests.len());
    for ((number, line), request) in lines(bytes).zip(requests) {
        assert_eq!(request.line, number);
        assert!(line.len() <= MAX_LINE_BYTES);
        assert!(request.timestamp.is_finite());
        let ids = request.input_length.div_ceil(TOKENS_PER_ID as u64);
        assert_eq!(request.hash_ids.len() as u64, ids);

        let plain: Value = serde_json::from_slice(line).expect("an accepted line is JSON");
        assert_eq!(plain["timestamp"].as_f64(), Some(request.timestamp));
        assert_eq!(plain["input_length"].as_u64(), Some(request.input_length));
        assert_eq!(plain["output_length"].as_u64(), Some(request.output_length));
        let plain_ids = plain["hash_ids"].as_array().expect("an array");
        assert!(
            plain_ids
                .iter()
                .map(Value::as_u64)
                .eq(request.hash_ids.iter().map(|&id| Some(id)))
        );
    }
    let span = trace::span(requests);
    assert!(span >= 0.0, "a trace spans {span} ms");
}

fn assert_refused_at(bytes: &[u8], number: usize) {
    let line = bytes.split(|&byte| byte == b'\n').nth(number - 1);
    let line = line.expect("the line exists");
    assert!(
        matches!(trace::parse(line), Err(TraceError::Line { line: 1, .. })),
        "line {number} alone is accepted"
    );
    let before: Vec<&[u8]> = bytes
        .split(|&byte| byte == b'\n')
        .take(number - 1)
        .collect();
    let before = before.join(&b'\n');
    match trace::parse(before.as_slice()) {
        Ok(requests) => assert_accepted(&before, &requests),
        Err(TraceError::Empty) => assert_accepted(&before, &[]),
        Err(error) => panic!("line {number} is not the first that is refused: {error}"),
    }
}
