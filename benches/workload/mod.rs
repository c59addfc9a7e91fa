//! The requests that the benchmarks run.

// Each benchmark uses some of this.
#![allow(dead_code)]

pub mod together;

use dynamo_tokens::PositionalLineageHash as SequenceHash;

/// The number of blocks per request.
pub const BATCH: usize = 32;

/// Returns the hashes of a chain of `BATCH` blocks that shares none with other chains.
pub fn chain(number: u64) -> [SequenceHash; BATCH] {
    std::array::from_fn(|at| block_of(number, at))
}

/// Like [`chain`], with any length.
pub fn long_chain(number: u64, len: usize) -> Vec<SequenceHash> {
    (0..len).map(|at| block_of(number, at)).collect()
}

#[inline]
fn block_of(chain: u64, at: usize) -> SequenceHash {
    let seed = chain.wrapping_mul(0x9E37_79B9_7F4A_7C15) << 6;
    let at = at as u64;
    let parent = at.checked_sub(1).map(|above| seed.wrapping_add(above));
    SequenceHash::new(seed.wrapping_add(at), parent, at)
}

/// Returns requests that share prefixes as chats do: a prompt chosen by Zipf's law, followed by
/// blocks of their own.
pub struct Requests {
    pub hashes: Vec<[SequenceHash; BATCH]>,
}

impl Requests {
    const PROMPTS: u64 = 512;

    pub fn new(count: usize, seed: u64) -> Self {
        let mut state = seed;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let weights: Vec<f64> = (1..=Self::PROMPTS).map(|rank| 1.0 / rank as f64).collect();
        let total: f64 = weights.iter().sum();
        let hashes = (0..count)
            .map(|_| {
                let mut point = (random() >> 11) as f64 / (1_u64 << 53) as f64 * total;
                let prompt = weights
                    .iter()
                    .position(|weight| {
                        point -= weight;
                        point <= 0.0
                    })
                    .unwrap_or(0) as u64;
                let shared = 8 + (prompt % 16) as usize;
                let own = chain(Self::PROMPTS + (random() >> 16));
                let prompt = chain(prompt);
                std::array::from_fn(|at| match at {
                    at if at < shared => prompt[at],
                    at if at == shared => SequenceHash::new(
                        own[at].current_sequence_hash(),
                        Some(prompt[at - 1].current_sequence_hash()),
                        at as u64,
                    ),
                    at => own[at],
                })
            })
            .collect();
        Self { hashes }
    }
}
