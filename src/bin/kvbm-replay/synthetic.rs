//! A synthetic workload: a chat service with many tenants.
//!
//! Each tenant has one system prompt that all its conversations begin with, and the popularity of
//! the tenants follows a Zipf distribution. A conversation has a geometric number of turns. The
//! prompt of a turn is everything before it, the answers included, and the new message of the
//! user, so that it grows turn by turn. A fixed number of conversations is open at any time, and
//! each takes its next turn after a think time; where one ends, another begins. The requests are
//! the turns in the order of their arrival.
//!
//! As in a trace, a request consists of its prompt. The answer becomes part of the next one.
//!
//! The same seed, number of requests, and block size give the same workload, and another block
//! size cuts the same prompts into other blocks. A block belongs to the tenant if the system
//! prompt fills it, and else to the conversation.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, LogNormal, Zipf};

use crate::workload::{Builder, Workload, WorkloadError, block_hash};

const TENANTS: usize = 200;

/// The exponent of the tenants' popularity.
const TENANT_SKEW: f64 = 1.0;

/// Conversations open at a time.
const OPEN_CONVERSATIONS: usize = 100;

/// The probability that a turn is the last of its conversation.
const LAST_TURN: f64 = 0.15;

/// The prompt at which a conversation ends, whatever its turns.
const MAX_PROMPT_TOKENS: u64 = 8_192;

/// Block owners from here on are conversations, and those below are tenants.
const FIRST_CONVERSATION: u64 = 1 << 32;

/// Generates the first `requests` requests of a service.
pub fn generate(seed: u64, requests: usize, block_size: usize) -> Result<Workload, WorkloadError> {
    let mut service = Service::new(seed);
    let mut builder = Builder::new(block_size);
    while builder.requests() < requests {
        builder.push(service.next_prompt().blocks(block_size as u64));
    }
    builder.finish()
}

/// The prompt of one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Prompt {
    tenant: u64,
    conversation: u64,
    system_tokens: u64,
    tokens: u64,
}

impl Prompt {
    /// The hashes of its full blocks.
    fn blocks(self, block_size: u64) -> impl Iterator<Item = u64> {
        (0..self.tokens / block_size).map(move |index| {
            let shared = (index + 1) * block_size <= self.system_tokens;
            let owner = if shared {
                self.tenant
            } else {
                self.conversation
            };
            block_hash(owner, index)
        })
    }
}

/// Lengths and times, each with its median and its spread.
struct Sizes {
    system: LogNormal<f64>,
    message: LogNormal<f64>,
    answer: LogNormal<f64>,
    think_seconds: LogNormal<f64>,
}

impl Sizes {
    fn new() -> Self {
        let with_median = |median: f64, spread: f64| {
            LogNormal::new(median.ln(), spread).expect("the spread is finite and positive")
        };
        Self {
            system: with_median(600.0, 0.7),
            message: with_median(60.0, 1.0),
            answer: with_median(160.0, 0.8),
            think_seconds: with_median(30.0, 1.0),
        }
    }
}

/// The service and its open conversations.
struct Service {
    rng: StdRng,
    sizes: Sizes,
    popularity: Zipf<f64>,
    /// The length of each tenant's system prompt.
    system_tokens: Vec<u64>,
    /// The prompt of each conversation's next turn.
    open: Vec<Prompt>,
    /// When each open conversation takes its next turn, in microseconds.
    turns: BinaryHeap<Reverse<(u64, usize)>>,
    next_conversation: u64,
}

impl Service {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let sizes = Sizes::new();
        let system_tokens = (0..TENANTS)
            .map(|_| tokens(&sizes.system, &mut rng).min(MAX_PROMPT_TOKENS / 2))
            .collect();
        let mut service = Self {
            rng,
            sizes,
            popularity: Zipf::new(TENANTS as f64, TENANT_SKEW)
                .expect("there are tenants and the skew is positive"),
            system_tokens,
            open: Vec::with_capacity(OPEN_CONVERSATIONS),
            turns: BinaryHeap::new(),
            next_conversation: FIRST_CONVERSATION,
        };
        for slot in 0..OPEN_CONVERSATIONS {
            let first = service.begin_conversation();
            service.open.push(first);
            service.schedule(0, slot);
        }
        service
    }

    /// The next prompt to arrive.
    fn next_prompt(&mut self) -> Prompt {
        let Reverse((now, slot)) = self
            .turns
            .pop()
            .expect("every open conversation has a turn");
        let prompt = self.open[slot];
        let answer = tokens(&self.sizes.answer, &mut self.rng);
        let message = tokens(&self.sizes.message, &mut self.rng);
        let next = Prompt {
            tokens: prompt.tokens + answer + message,
            ..prompt
        };
        let ends = self.rng.random_bool(LAST_TURN) || next.tokens > MAX_PROMPT_TOKENS;
        self.open[slot] = if ends {
            self.begin_conversation()
        } else {
            next
        };
        self.schedule(now, slot);
        prompt
    }

    /// The first prompt of a new conversation.
    fn begin_conversation(&mut self) -> Prompt {
        // The sample is an integer from 1, and 1 is the most popular.
        let tenant = self.popularity.sample(&mut self.rng) as usize - 1;
        let system_tokens = self.system_tokens[tenant];
        let conversation = self.next_conversation;
        self.next_conversation += 1;
        Prompt {
            tenant: tenant as u64,
            conversation,
            system_tokens,
            tokens: system_tokens + tokens(&self.sizes.message, &mut self.rng),
        }
    }

    fn schedule(&mut self, now: u64, slot: usize) {
        let think = self.sizes.think_seconds.sample(&mut self.rng);
        self.turns.push(Reverse((now + (think * 1e6) as u64, slot)));
    }
}

/// A length in tokens, at least one and at most a quarter of the longest prompt.
fn tokens(length: &LogNormal<f64>, rng: &mut StdRng) -> u64 {
    (length.sample(rng) as u64).clamp(1, MAX_PROMPT_TOKENS / 4)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn requests(workload: &Workload) -> Vec<&[kvbm_lockfree::SequenceHash]> {
        (0..workload.requests())
            .map(|index| workload.request(index))
            .collect()
    }

    #[test]
    fn the_seed_decides() {
        let one = generate(1, 300, 16).unwrap();
        let same = generate(1, 300, 16).unwrap();
        let other = generate(2, 300, 16).unwrap();
        assert_eq!(requests(&one), requests(&same));
        assert_ne!(requests(&one), requests(&other));
        assert_eq!(one.requests(), 300);
    }

    #[test]
    fn more_requests_continue_the_same_service() {
        let short = generate(1, 100, 16).unwrap();
        let long = generate(1, 300, 16).unwrap();
        assert_eq!(requests(&short), requests(&long)[..100]);
    }

    #[test]
    fn the_block_size_cuts_the_same_prompts() {
        let coarse = generate(1, 300, 64).unwrap();
        let fine = generate(1, 300, 16).unwrap();
        for (coarse, fine) in requests(&coarse).into_iter().zip(requests(&fine)) {
            assert_eq!(coarse.len(), fine.len() / 4);
        }
    }

    #[test]
    fn prompts_grow_turn_by_turn_and_stay_within_the_limit() {
        let mut service = Service::new(3);
        let mut last: HashMap<u64, u64> = HashMap::new();
        let mut interleaved = 0;
        let mut previous = None;
        for _ in 0..2000 {
            let prompt = service.next_prompt();
            let before = last.insert(prompt.conversation, prompt.tokens);
            assert!(prompt.tokens > before.unwrap_or(prompt.system_tokens));
            assert!(prompt.tokens <= MAX_PROMPT_TOKENS);
            interleaved += usize::from(previous != Some(prompt.conversation));
            previous = Some(prompt.conversation);
        }
        assert!(last.values().len() > 100);
        assert!(interleaved > 1500);
    }

    #[test]
    fn tenants_share_the_blocks_their_system_prompt_fills() {
        let prompt = |conversation| Prompt {
            tenant: 5,
            conversation,
            system_tokens: 40,
            tokens: 70,
        };
        let one: Vec<u64> = prompt(FIRST_CONVERSATION).blocks(16).collect();
        let two: Vec<u64> = prompt(FIRST_CONVERSATION + 1).blocks(16).collect();
        assert_eq!((one.len(), two.len()), (4, 4));
        assert_eq!(one[..2], two[..2]);
        assert_ne!(one[2], two[2]);
    }
}
