//! The parser of request traces in the Mooncake format.
//!
//! A trace is a file with one JSON object per line, each of which is a request:
//!
//! ```json
//! {"timestamp": 27, "input_length": 1100, "output_length": 52, "hash_ids": [0, 7, 8]}
//! ```
//!
//! | Field           | Type             | Meaning                                               |
//! |-----------------|------------------|-------------------------------------------------------|
//! | `timestamp`     | number           | arrival in milliseconds; the order is not checked     |
//! | `input_length`  | integer (64 bit) | length of the prompt in tokens                        |
//! | `output_length` | integer (64 bit) | length of the answer in tokens                        |
//! | `hash_ids`      | array of `u64`   | one id per block of 512 prompt tokens, the last of which may be partly filled; equal ids stand for equal tokens after equal prefixes |
//!
//! The number of ids must be `input_length` ÷ 512, rounded up. Other fields and blank lines are
//! ignored.
//!
//! The input is not trusted: a line is limited to [`MAX_LINE_BYTES`], and memory usage is
//! proportional to the bytes read, never to a number found among them.

use std::io::{self, BufRead, Read};

use serde_json::{Map, Value};
use thiserror::Error;

/// The number of prompt tokens per entry of `hash_ids`.
pub const TOKENS_PER_ID: usize = 512;

/// The maximum length of a line, which is enough for prompts of many million tokens.
pub const MAX_LINE_BYTES: usize = 1 << 20;

/// One request of a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceRequest {
    /// The line in the trace, counted from 1.
    pub line: usize,
    /// The arrival, in milliseconds.
    pub timestamp: f64,
    /// The length of the prompt, in tokens.
    pub input_length: u64,
    /// The length of the answer, in tokens.
    pub output_length: u64,
    /// One id per 512 tokens of the prompt.
    pub hash_ids: Vec<u64>,
}

/// Why a trace could not be read.
#[derive(Debug, Error)]
pub enum TraceError {
    /// The reader failed.
    #[error("reading failed")]
    Read(#[from] io::Error),
    /// A line is not a request.
    #[error("line {line}: {problem}")]
    Line {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: LineError,
    },
    /// The trace contains no request.
    #[error("the trace contains no requests")]
    Empty,
}

/// Why a line is not a request.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LineError {
    /// It exceeds [`MAX_LINE_BYTES`].
    #[error("longer than {MAX_LINE_BYTES} bytes")]
    TooLong,
    /// It is not JSON.
    #[error("column {column}: not valid JSON: {reason}")]
    Syntax {
        /// The column, counted from 1.
        column: usize,
        /// The JSON parser's message.
        reason: String,
    },
    /// It is JSON, but not an object.
    #[error("expected a JSON object, found {found}")]
    NotAnObject {
        /// The type of the value found.
        found: &'static str,
    },
    /// A field is missing.
    #[error("field `{field}` is missing")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A field has a value of the wrong type.
    #[error("field `{field}`: expected {expected}, found {found}")]
    WrongType {
        /// The field.
        field: &'static str,
        /// The expected type.
        expected: &'static str,
        /// The type of the value found.
        found: &'static str,
    },
    /// An entry of `hash_ids` has the wrong type.
    #[error(
        "field `hash_ids`: expected an unsigned 64-bit integer at index {index}, found {found}"
    )]
    WrongId {
        /// The index of the entry.
        index: usize,
        /// The type of the value found.
        found: &'static str,
    },
    /// The number of ids does not match the length of the prompt.
    #[error(
        "field `hash_ids`: an `input_length` of {input_length} tokens needs {expected} ids of \
         {TOKENS_PER_ID} tokens, found {found}"
    )]
    IdCount {
        /// Tokens of the prompt.
        input_length: u64,
        /// The number of ids that this length requires.
        expected: u64,
        /// The number of ids found.
        found: usize,
    },
}

/// Parses a trace. Stops with an error at the first line that is not a request.
pub fn parse(mut reader: impl BufRead) -> Result<Vec<TraceRequest>, TraceError> {
    let mut requests = Vec::new();
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        // Reading one byte more than a line may have distinguishes a line that is too long from
        // one that just fits. The extra byte may also be the newline.
        let limit = MAX_LINE_BYTES as u64 + 1;
        if reader.by_ref().take(limit).read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        if text.trim_ascii().is_empty() && text.len() <= MAX_LINE_BYTES {
            continue;
        }
        let request =
            parse_line(text, line).map_err(|problem| TraceError::Line { line, problem })?;
        requests.push(request);
    }
    if requests.is_empty() {
        return Err(TraceError::Empty);
    }
    Ok(requests)
}

/// Returns the time from the earliest to the latest arrival, in milliseconds.
pub fn span(requests: &[TraceRequest]) -> f64 {
    let times = || requests.iter().map(|request| request.timestamp);
    let earliest = times().fold(f64::INFINITY, f64::min);
    let latest = times().fold(f64::NEG_INFINITY, f64::max);
    (latest - earliest).max(0.0)
}

fn parse_line(text: &[u8], line: usize) -> Result<TraceRequest, LineError> {
    if text.len() > MAX_LINE_BYTES {
        return Err(LineError::TooLong);
    }
    let fields = match serde_json::from_slice(text) {
        Ok(Value::Object(fields)) => fields,
        Ok(other) => {
            return Err(LineError::NotAnObject {
                found: type_name(&other),
            });
        }
        Err(error) => {
            return Err(LineError::Syntax {
                column: error.column(),
                reason: syntax_reason(&error),
            });
        }
    };
    let request = TraceRequest {
        line,
        timestamp: number(&fields, "timestamp")?,
        input_length: unsigned(&fields, "input_length")?,
        output_length: unsigned(&fields, "output_length")?,
        hash_ids: ids(&fields, "hash_ids")?,
    };
    let expected = request.input_length.div_ceil(TOKENS_PER_ID as u64);
    if request.hash_ids.len() as u64 != expected {
        return Err(LineError::IdCount {
            input_length: request.input_length,
            expected,
            found: request.hash_ids.len(),
        });
    }
    Ok(request)
}

/// Returns the message of a JSON error without its position, whose line is always 1 here.
fn syntax_reason(error: &serde_json::Error) -> String {
    let message = error.to_string();
    match message.rfind(" at line ") {
        Some(end) => message[..end].to_owned(),
        None => message,
    }
}

fn field<'a>(fields: &'a Map<String, Value>, field: &'static str) -> Result<&'a Value, LineError> {
    fields.get(field).ok_or(LineError::Missing { field })
}

fn number(fields: &Map<String, Value>, name: &'static str) -> Result<f64, LineError> {
    let value = field(fields, name)?;
    value.as_f64().ok_or_else(|| LineError::WrongType {
        field: name,
        expected: "a number",
        found: type_name(value),
    })
}

fn unsigned(fields: &Map<String, Value>, name: &'static str) -> Result<u64, LineError> {
    let value = field(fields, name)?;
    value.as_u64().ok_or_else(|| LineError::WrongType {
        field: name,
        expected: "an unsigned 64-bit integer",
        found: type_name(value),
    })
}

fn ids(fields: &Map<String, Value>, name: &'static str) -> Result<Vec<u64>, LineError> {
    let value = field(fields, name)?;
    let entries = value.as_array().ok_or_else(|| LineError::WrongType {
        field: name,
        expected: "an array",
        found: type_name(value),
    })?;
    let id = |(index, entry): (usize, &Value)| {
        entry.as_u64().ok_or_else(|| LineError::WrongId {
            index,
            found: type_name(entry),
        })
    };
    entries.iter().enumerate().map(id).collect()
}

/// Returns how error messages describe a value. The value itself may be arbitrarily long.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_u64() => "an unsigned integer",
        Value::Number(number) if number.is_i64() => "a negative integer",
        Value::Number(_) => "a fraction or an integer beyond 64 bits",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        r#"{"timestamp": 3, "input_length": 513, "output_length": 2, "hash_ids": [9, 4]}"#;

    /// Returns the error message for a trace whose second line is `line`.
    fn message(line: &str) -> String {
        parse(format!("{GOOD}\n{line}\n").as_bytes())
            .expect_err(line)
            .to_string()
    }

    #[test]
    fn reads_requests_in_file_order() {
        let text = format!(
            "\n{GOOD}\r\n  \n{}",
            r#"{"hash_ids":[],"output_length":0,"input_length":0,"timestamp":1.5,"note":{}}"#
        );
        let requests = parse(text.as_bytes()).unwrap();
        let first = TraceRequest {
            line: 2,
            timestamp: 3.0,
            input_length: 513,
            output_length: 2,
            hash_ids: vec![9, 4],
        };
        assert_eq!(requests[0], first);
        assert_eq!((requests[1].line, requests[1].timestamp), (4, 1.5));
        assert_eq!(requests.len(), 2);
    }

    #[test]
    fn takes_the_largest_id() {
        let line = r#"{"timestamp":0,"input_length":1,"output_length":0,"hash_ids":[18446744073709551615]}"#;
        assert_eq!(parse(line.as_bytes()).unwrap()[0].hash_ids, [u64::MAX]);
    }

    #[test]
    fn the_span_ignores_the_order() {
        let at = |timestamp: &str| GOOD.replace(": 3,", &format!(": {timestamp},"));
        let text = [at("5"), at("-1.5"), at("2")].join("\n");
        assert_eq!(span(&parse(text.as_bytes()).unwrap()), 6.5);
        assert_eq!(span(&[]), 0.0);
    }

    #[test]
    fn names_the_line_and_the_column_of_a_syntax_error() {
        assert_eq!(
            message(r#"{"timestamp": 3, "inp"#),
            "line 2: column 21: not valid JSON: EOF while parsing a string"
        );
        assert!(message("\u{feff}{}").starts_with("line 2: column 1: not valid JSON"));
        assert!(message(&"[".repeat(5000)).contains("recursion limit"));
        let error = parse(&b"{\"\xff\": 1}"[..]).unwrap_err().to_string();
        assert!(error.starts_with("line 1: column "), "{error}");
    }

    #[test]
    fn names_a_missing_field() {
        for field in ["timestamp", "input_length", "output_length", "hash_ids"] {
            let line = GOOD.replace(field, "other");
            assert_eq!(
                message(&line),
                format!("line 2: field `{field}` is missing")
            );
        }
        assert_eq!(
            message("[1]"),
            "line 2: expected a JSON object, found an array"
        );
    }

    #[test]
    fn names_a_field_of_the_wrong_type() {
        let cases = [
            (
                GOOD.replace(": 3,", ": \"3\","),
                "field `timestamp`: expected a number, found a string",
            ),
            (
                GOOD.replace("513", "-1"),
                "field `input_length`: expected an unsigned 64-bit integer, found a negative integer",
            ),
            (
                GOOD.replace(": 2,", ": 2.0,"),
                "field `output_length`: expected an unsigned 64-bit integer, \
                 found a fraction or an integer beyond 64 bits",
            ),
            (
                GOOD.replace("[9, 4]", "null"),
                "field `hash_ids`: expected an array, found null",
            ),
            (
                GOOD.replace("9, 4", "9, true"),
                "field `hash_ids`: expected an unsigned 64-bit integer at index 1, found a boolean",
            ),
            (
                GOOD.replace("9, 4", "18446744073709551616, 4"),
                "field `hash_ids`: expected an unsigned 64-bit integer at index 0, \
                 found a fraction or an integer beyond 64 bits",
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(message(&line), format!("line 2: {expected}"));
        }
    }

    #[test]
    fn checks_the_number_of_ids() {
        assert_eq!(
            message(&GOOD.replace("9, 4", "9")),
            "line 2: field `hash_ids`: an `input_length` of 513 tokens needs 2 ids of 512 tokens, \
             found 1"
        );
        assert!(message(&GOOD.replace("513", "18446744073709551615")).contains("found 2"));
    }

    #[test]
    fn limits_the_length_of_a_line() {
        let padding = " ".repeat(MAX_LINE_BYTES - GOOD.len());
        let longest = format!("{padding}{GOOD}");
        assert_eq!(parse(format!("{longest}\n").as_bytes()).unwrap().len(), 1);
        assert_eq!(parse(longest.as_bytes()).unwrap().len(), 1);
        assert_eq!(
            message(&format!(" {longest}")),
            "line 2: longer than 1048576 bytes"
        );
        let blank = " ".repeat(MAX_LINE_BYTES + 1);
        assert_eq!(message(&blank), "line 2: longer than 1048576 bytes");
    }

    #[test]
    fn an_empty_trace_is_an_error() {
        for text in ["", "\n \n"] {
            assert!(matches!(parse(text.as_bytes()), Err(TraceError::Empty)));
        }
    }
}
