//! The list of requests that is replayed, each given by the sequence hashes of its blocks.
//!
//! # Block hashes
//!
//! A workload identifies the content of a block by an *owner* and an *index* within the owner. The
//! hash of the block is `mix(mix(owner) + index)`, where the addition is modulo 2^64 and `mix` is
//! the output function of SplitMix64:
//!
//! ```text
//! z = x + 0x9e3779b97f4a7c15
//! z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
//! z = (z ^ (z >> 27)) * 0x94d049bb133111eb
//! mix(x) = z ^ (z >> 31)
//! ```
//!
//! The blocks of a request form a chain. The first one's sequence hash is [`SequenceHash::root`] of
//! its block hash; every other one's [`SequenceHash::extend`]s that of its predecessor.
//!
//! # Blocks of a trace
//!
//! A trace has one id per 512 tokens. In a pool with blocks of 512 tokens, each id is one block,
//! `(id, 0)`. That includes the last one, even if the prompt fills it only partly, because the
//! trace records it as a block.
//!
//! In a pool with smaller blocks, each id becomes `512 / block_size` blocks: `(id, 0)`, `(id, 1)`,
//! and so on. Since a pool caches full blocks only, a request asks only for those that lie entirely
//! within `input_length`. A request shorter than a block asks for none, but keeps its place in the
//! list and among the requests in flight.

use std::collections::HashSet;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use kvbm_lockfree::SequenceHash;
use serde::Serialize;
use thiserror::Error;

use crate::trace::{self, TOKENS_PER_ID, TraceError, TraceRequest};

/// The maximum number of blocks per request: a [`SequenceHash`] has positions of 24 bits.
const MAX_REQUEST_BLOCKS: u64 = 1 << 24;

/// The reason why a workload could not be built.
#[derive(Debug, Error)]
pub enum WorkloadError {
    /// The trace file could not be opened.
    #[error("{}: cannot be opened", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The trace file could not be read, or is not a trace.
    #[error("{}", path.display())]
    Trace {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TraceError,
    },
    /// The blocks of the pool are larger than those of the trace.
    #[error(
        "the block size of {block_size} tokens is too large for a trace, which has one id per \
         {TOKENS_PER_ID} tokens"
    )]
    BlockTooLarge {
        /// Tokens per block of the pool.
        block_size: usize,
    },
    /// A request has more blocks than a sequence hash can count.
    #[error(
        "line {line}: field `input_length`: {input_length} tokens are {blocks} blocks of \
         {block_size} tokens, but a request may have at most {MAX_REQUEST_BLOCKS}"
    )]
    RequestTooLong {
        /// The line in the trace, counted from 1.
        line: usize,
        /// Tokens of the prompt.
        input_length: u64,
        /// The number of blocks of this length.
        blocks: u64,
        /// Tokens per block of the pool.
        block_size: usize,
    },
    /// No request asks for any block.
    #[error("no request fills a block of {block_size} tokens")]
    NoBlocks {
        /// Tokens per block of the pool.
        block_size: usize,
    },
}

/// The size of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The number of requests.
    pub requests: usize,
    /// The number of blocks that all requests together ask for.
    pub blocks_requested: usize,
    /// The number of different blocks among them.
    pub distinct_blocks: usize,
    /// The number of blocks of the largest request.
    pub largest_request: usize,
}

/// The pool sizes of a curve, in thousandths of the distinct blocks.
const CURVE: [usize; 13] = [1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000];

/// A list of requests.
#[derive(Debug)]
pub struct Workload {
    block_size: usize,
    /// The sequence hashes of all requests, concatenated.
    hashes: Vec<SequenceHash>,
    /// The index at which the hashes of each request end.
    ends: Vec<usize>,
    summary: Summary,
}

impl Workload {
    /// Builds the workload of a trace, in the order of the file.
    pub fn from_trace(requests: &[TraceRequest], block_size: usize) -> Result<Self, WorkloadError> {
        if block_size > TOKENS_PER_ID {
            return Err(WorkloadError::BlockTooLarge { block_size });
        }
        let mut builder = Builder::new(block_size);
        for request in requests {
            let blocks = blocks_of(request, block_size);
            if blocks > MAX_REQUEST_BLOCKS {
                return Err(WorkloadError::RequestTooLong {
                    line: request.line,
                    input_length: request.input_length,
                    blocks,
                    block_size,
                });
            }
            let parts = (TOKENS_PER_ID / block_size) as u64;
            let expanded = request
                .hash_ids
                .iter()
                .flat_map(|&id| (0..parts).map(move |part| block_hash(id, part)));
            builder.push(expanded.take(blocks as usize));
        }
        builder.finish()
    }

    /// Returns the number of tokens per block.
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// Returns the number of requests.
    pub fn requests(&self) -> usize {
        self.ends.len()
    }

    /// Returns the sequence hashes of one request.
    pub fn request(&self, index: usize) -> &[SequenceHash] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.hashes[start..self.ends[index]]
    }

    /// Returns the size of the workload.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// Returns pool sizes at which policies tend to differ: 3, 10, and 30 percent of the distinct
    /// blocks, rounded to two digits.
    ///
    /// None is smaller than the largest request, which would be refused otherwise.
    pub fn default_pool_sizes(&self) -> Vec<usize> {
        let size = |percent| {
            let exact = self.summary.distinct_blocks * percent / 100;
            round_to_two_digits(exact).max(self.summary.largest_request)
        };
        let mut sizes = [3, 10, 30].map(size).to_vec();
        sizes.dedup();
        sizes
    }

    /// Returns pool sizes for a curve: from 0.1 to 100 percent of the distinct blocks, at round
    /// percentages that are about evenly spaced on a logarithmic scale.
    ///
    /// Sizes below the largest request are replaced by the size of that request: refusals would
    /// obscure the effects of eviction.
    pub fn curve_pool_sizes(&self) -> Vec<usize> {
        let size = |thousandths: usize| {
            let exact = (self.summary.distinct_blocks * thousandths + 500) / 1000;
            exact.max(self.summary.largest_request)
        };
        let mut sizes = CURVE.map(size).to_vec();
        sizes.dedup();
        sizes
    }
}

/// Collects requests into a [`Workload`].
pub struct Builder {
    block_size: usize,
    hashes: Vec<SequenceHash>,
    ends: Vec<usize>,
}

impl Builder {
    /// Creates an empty list for blocks of `block_size` tokens.
    pub fn new(block_size: usize) -> Self {
        Self {
            block_size,
            hashes: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Appends a request that asks for blocks with these hashes.
    pub fn push(&mut self, block_hashes: impl IntoIterator<Item = u64>) {
        let mut parent: Option<SequenceHash> = None;
        for block_hash in block_hashes {
            let hash = match parent {
                Some(parent) => parent.extend(block_hash),
                None => SequenceHash::root(block_hash),
            };
            self.hashes.push(hash);
            parent = Some(hash);
        }
        self.ends.push(self.hashes.len());
    }

    /// Finishes the list.
    ///
    /// # Errors
    ///
    /// Returns [`WorkloadError::NoBlocks`] if no request asks for a block.
    pub fn finish(self) -> Result<Workload, WorkloadError> {
        let Self {
            block_size,
            hashes,
            ends,
        } = self;
        if hashes.is_empty() {
            return Err(WorkloadError::NoBlocks { block_size });
        }
        let starts = std::iter::once(&0).chain(&ends);
        let lengths = ends.iter().zip(starts).map(|(end, start)| end - start);
        let summary = Summary {
            requests: ends.len(),
            blocks_requested: hashes.len(),
            distinct_blocks: hashes.iter().collect::<HashSet<_>>().len(),
            largest_request: lengths.max().unwrap_or(0),
        };
        Ok(Workload {
            block_size,
            hashes,
            ends,
            summary,
        })
    }
}

/// Reads the requests of a trace file.
pub fn read_trace(path: &Path) -> Result<Vec<TraceRequest>, WorkloadError> {
    let path = path.to_owned();
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(source) => return Err(WorkloadError::Open { path, source }),
    };
    trace::parse(BufReader::new(file)).map_err(|source| WorkloadError::Trace { path, source })
}

/// Returns the hash of the `index`-th block of an owner, as the module documentation defines it.
pub fn block_hash(owner: u64, index: u64) -> u64 {
    mix(mix(owner).wrapping_add(index))
}

fn mix(x: u64) -> u64 {
    let z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Returns the number of blocks that a request of a trace asks for.
fn blocks_of(request: &TraceRequest, block_size: usize) -> u64 {
    if block_size == TOKENS_PER_ID {
        request.hash_ids.len() as u64
    } else {
        request.input_length / block_size as u64
    }
}

fn round_to_two_digits(n: usize) -> usize {
    let unit = 10_usize.pow(n.checked_ilog10().unwrap_or(0).saturating_sub(1));
    (n + unit / 2) / unit * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(input_length: u64, hash_ids: &[u64]) -> TraceRequest {
        TraceRequest {
            line: 7,
            timestamp: 0.0,
            input_length,
            output_length: 0,
            hash_ids: hash_ids.to_vec(),
        }
    }

    #[test]
    fn mix_is_splitmix64() {
        // The first outputs of the published generator from the seed 1234567.
        let seed = 1_234_567_u64;
        assert_eq!(mix(seed), 6_457_827_717_110_365_317);
        let step = 0x9e37_79b9_7f4a_7c15_u64;
        assert_eq!(mix(seed.wrapping_add(step)), 3_203_168_211_198_807_973);
    }

    #[test]
    fn an_id_is_a_block_at_the_natural_size() {
        let trace = [request(1025, &[3, 4, 5]), request(1024, &[3, 4])];
        let workload = Workload::from_trace(&trace, 512).unwrap();
        assert_eq!(workload.request(0).len(), 3);
        assert_eq!(workload.request(1), &workload.request(0)[..2]);
        let root = SequenceHash::root(block_hash(3, 0));
        assert_eq!(workload.request(0)[0], root);
        assert_eq!(workload.request(0)[1], root.extend(block_hash(4, 0)));
        let expected = Summary {
            requests: 2,
            blocks_requested: 5,
            distinct_blocks: 3,
            largest_request: 3,
        };
        assert_eq!(workload.summary(), expected);
    }

    #[test]
    fn an_id_expands_into_full_smaller_blocks() {
        let trace = [
            request(600, &[3, 4]),
            request(127, &[9]),
            request(1024, &[3, 4]),
        ];
        let workload = Workload::from_trace(&trace, 128).unwrap();
        assert_eq!(workload.request(0).len(), 4);
        assert_eq!(workload.request(1).len(), 0);
        assert_eq!(workload.request(2).len(), 8);
        assert_eq!(workload.request(0), &workload.request(2)[..4]);
        let mut chain = SequenceHash::root(block_hash(3, 0));
        for (id, part) in [(3, 1), (3, 2), (3, 3), (4, 0)] {
            chain = chain.extend(block_hash(id, part));
        }
        assert_eq!(workload.request(2)[4], chain);
    }

    #[test]
    fn impossible_expansions_are_errors() {
        let long = [request(1 << 25, &vec![0; 1 << 16])];
        let error = Workload::from_trace(&long, 1).unwrap_err().to_string();
        assert!(
            error.starts_with("line 7: field `input_length`: 33554432 tokens"),
            "{error}"
        );
        let error = Workload::from_trace(&long, 1024).unwrap_err();
        assert!(matches!(
            error,
            WorkloadError::BlockTooLarge { block_size: 1024 }
        ));
        let error = Workload::from_trace(&[request(100, &[1])], 128).unwrap_err();
        assert!(matches!(error, WorkloadError::NoBlocks { block_size: 128 }));
    }

    #[test]
    fn default_sizes_are_round_and_large_enough() {
        assert_eq!(round_to_two_digits(0), 0);
        assert_eq!(round_to_two_digits(99), 99);
        assert_eq!(round_to_two_digits(18_749), 19_000);
        let trace = [request(512 * 200, &(0..200).collect::<Vec<_>>())];
        let workload = Workload::from_trace(&trace, 512).unwrap();
        assert_eq!(workload.default_pool_sizes(), [200]);
    }

    #[test]
    fn curves_reach_from_the_largest_request_to_all_blocks() {
        let trace: Vec<TraceRequest> = (0..100)
            .map(|request| self::request(512 * 20, &(request * 20..).take(20).collect::<Vec<_>>()))
            .collect();
        let workload = Workload::from_trace(&trace, 512).unwrap();
        assert_eq!(workload.summary().distinct_blocks, 2000);
        let sizes = [20, 40, 60, 100, 200, 400, 600, 1000, 2000];
        assert_eq!(workload.curve_pool_sizes(), sizes);
        assert_eq!(
            Workload::from_trace(&trace[..1], 512)
                .unwrap()
                .curve_pool_sizes(),
            [20]
        );
    }
}
