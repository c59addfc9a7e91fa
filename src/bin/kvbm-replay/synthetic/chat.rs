//! A chat service with many tenants.
//!
//! Each tenant has a system prompt with which all of its conversations begin. The popularity of
//! tenants follows a Zipf distribution, and the number of turns of a conversation a geometric one.
//! The prompt of a turn consists of everything before it, including the answers, and the user's new
//! message, so it grows with every turn.
//!
//! The number of open conversations is constant: when one ends, another begins. Each conversation
//! takes its next turn after a think time. The requests are the turns in the order of their arrival.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Zipf};

use super::lengths::Lengths;
use super::prompt::{Part, Prompt};

const TENANTS: usize = 200;

/// The exponent of the popularity distribution.
const TENANT_SKEW: f64 = 1.0;

/// The number of open conversations.
const OPEN_CONVERSATIONS: usize = 100;

/// The probability that a turn is the last of its conversation.
const LAST_TURN: f64 = 0.15;

/// The length of a prompt beyond which a conversation ends, whatever its number of turns.
const MAX_PROMPT_TOKENS: u64 = 8_192;

/// The maximum length of a system prompt, message, or answer.
const MAX_TEXT_TOKENS: u64 = MAX_PROMPT_TOKENS / 4;

/// The first owner that stands for a conversation. Smaller ones stand for tenants.
const FIRST_CONVERSATION: u64 = 1 << 32;

/// A turn of a conversation.
#[derive(Clone, Copy)]
struct Turn {
    tenant: u64,
    conversation: u64,
    system_tokens: u64,
    tokens: u64,
}

impl Turn {
    fn prompt(self) -> Prompt {
        let system = Part {
            owner: self.tenant,
            end: self.system_tokens,
        };
        let messages = Part {
            owner: self.conversation,
            end: self.tokens,
        };
        Prompt {
            parts: vec![system, messages],
        }
    }
}

struct Texts {
    system: Lengths,
    message: Lengths,
    answer: Lengths,
}

/// The state of the service.
pub struct Chat {
    rng: StdRng,
    texts: Texts,
    think_seconds: Lengths,
    popularity: Zipf<f64>,
    /// The length of each tenant's system prompt.
    system_tokens: Vec<u64>,
    /// The next turn of each conversation.
    open: Vec<Turn>,
    /// When each open conversation takes its next turn, in microseconds.
    turns: BinaryHeap<Reverse<(u64, usize)>>,
    next_conversation: u64,
}

impl Chat {
    /// Creates the service for a seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let texts = Texts {
            system: Lengths::around(600.0, 0.7),
            message: Lengths::around(60.0, 1.0),
            answer: Lengths::around(160.0, 0.8),
        };
        let system_tokens = (0..TENANTS)
            .map(|_| texts.system.tokens(MAX_TEXT_TOKENS, &mut rng))
            .collect();
        let mut service = Self {
            rng,
            texts,
            think_seconds: Lengths::around(30.0, 1.0),
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

    fn next_turn(&mut self) -> Turn {
        let Reverse((now, slot)) = self
            .turns
            .pop()
            .expect("every open conversation has a turn");
        let turn = self.open[slot];
        let answer = self.texts.answer.tokens(MAX_TEXT_TOKENS, &mut self.rng);
        let message = self.texts.message.tokens(MAX_TEXT_TOKENS, &mut self.rng);
        let next = Turn {
            tokens: turn.tokens + answer + message,
            ..turn
        };
        let ends = self.rng.random_bool(LAST_TURN) || next.tokens > MAX_PROMPT_TOKENS;
        self.open[slot] = if ends {
            self.begin_conversation()
        } else {
            next
        };
        self.schedule(now, slot);
        turn
    }

    /// Returns the first turn of a new conversation.
    fn begin_conversation(&mut self) -> Turn {
        // Samples are integers from 1, of which 1 is the most popular.
        let tenant = self.popularity.sample(&mut self.rng) as usize - 1;
        let system_tokens = self.system_tokens[tenant];
        let conversation = self.next_conversation;
        self.next_conversation += 1;
        let message = self.texts.message.tokens(MAX_TEXT_TOKENS, &mut self.rng);
        Turn {
            tenant: tenant as u64,
            conversation,
            system_tokens,
            tokens: system_tokens + message,
        }
    }

    fn schedule(&mut self, now: u64, slot: usize) {
        let think = self.think_seconds.time(&mut self.rng);
        self.turns.push(Reverse((now + (think * 1e6) as u64, slot)));
    }
}

impl Iterator for Chat {
    type Item = Prompt;

    fn next(&mut self) -> Option<Prompt> {
        Some(self.next_turn().prompt())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn prompts_grow_turn_by_turn_and_stay_within_the_limit() {
        let mut service = Chat::new(3);
        let mut last: HashMap<u64, u64> = HashMap::new();
        let mut interleaved = 0;
        let mut previous = None;
        for _ in 0..2000 {
            let turn = service.next_turn();
            let before = last.insert(turn.conversation, turn.tokens);
            assert!(turn.tokens > before.unwrap_or(turn.system_tokens));
            assert!(turn.tokens <= MAX_PROMPT_TOKENS);
            interleaved += usize::from(previous != Some(turn.conversation));
            previous = Some(turn.conversation);
        }
        assert!(last.values().len() > 100);
        assert!(interleaved > 1500);
    }

    #[test]
    fn conversations_of_a_tenant_share_its_system_prompt() {
        let mut systems: HashMap<u64, u64> = HashMap::new();
        let mut shared = 0;
        for prompt in Chat::new(3).take(2000) {
            let [system, messages] = prompt.parts[..] else {
                panic!("{prompt:?}");
            };
            assert!(system.owner < FIRST_CONVERSATION && messages.owner >= FIRST_CONVERSATION);
            match systems.insert(system.owner, system.end) {
                Some(end) => {
                    assert_eq!(end, system.end);
                    shared += 1;
                }
                None => assert!(system.end <= MAX_TEXT_TOKENS),
            }
        }
        assert!(shared > 1000);
    }
}
