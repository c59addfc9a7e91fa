//! Agents that call tools in a loop, and sometimes branch.
//!
//! There are a few kinds of agents. All sessions of a kind begin with the same long prompt, which
//! describes its tools; the popularity of kinds follows a Zipf distribution. A session is given a
//! task and then proceeds in steps. Each step appends what the model said, which is a tool call, and
//! what the tool returned; the prompt is everything so far. Now and then a step branches: another
//! session continues from the same point in its own way, as if several attempts were compared.
//!
//! The number of steps of a session follows a geometric distribution, and tools return quickly. The
//! number of open sessions is constant: when one ends, a waiting branch continues or a new session
//! begins.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Zipf};

use super::lengths::Lengths;
use super::prompt::{Part, Prompt};

/// The number of kinds of agents.
const KINDS: usize = 12;

/// The exponent of the popularity distribution.
const KIND_SKEW: f64 = 0.9;

/// The number of open sessions.
const OPEN_SESSIONS: usize = 48;

/// The probability that a step is the last of its session.
const LAST_STEP: f64 = 0.14;

/// The probability that another session branches off at a step.
const BRANCH: f64 = 0.08;

/// The length of a prompt beyond which a session ends, whatever its number of steps.
const MAX_PROMPT_TOKENS: u64 = 16_384;

/// The maximum length of a tool description, task, tool call, or result.
const MAX_TEXT_TOKENS: u64 = MAX_PROMPT_TOKENS / 4;

/// The first owner that stands for a session. Smaller ones stand for kinds of agents.
const FIRST_SESSION: u64 = 1 << 32;

struct Texts {
    tools: Lengths,
    task: Lengths,
    call: Lengths,
    result: Lengths,
}

/// The state of the agents and their sessions.
pub struct Agents {
    rng: StdRng,
    texts: Texts,
    tool_seconds: Lengths,
    popularity: Zipf<f64>,
    /// The length of each kind's prompt, in tokens.
    tool_tokens: Vec<u64>,
    /// The prompt of the next step of each session.
    open: Vec<Prompt>,
    /// When each open session takes its next step, in microseconds.
    steps: BinaryHeap<Reverse<(u64, usize)>>,
    /// Sessions that have branched off and wait to be opened.
    branches: VecDeque<Prompt>,
    next_session: u64,
}

impl Agents {
    /// Creates the agents for a seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let texts = Texts {
            tools: Lengths::around(2_500.0, 0.4),
            task: Lengths::around(200.0, 0.8),
            call: Lengths::around(80.0, 0.7),
            result: Lengths::around(250.0, 1.1),
        };
        let tool_tokens = (0..KINDS)
            .map(|_| texts.tools.tokens(MAX_PROMPT_TOKENS / 2, &mut rng))
            .collect();
        let mut service = Self {
            rng,
            texts,
            tool_seconds: Lengths::around(3.0, 1.2),
            popularity: Zipf::new(KINDS as f64, KIND_SKEW)
                .expect("there are kinds and the skew is positive"),
            tool_tokens,
            open: Vec::with_capacity(OPEN_SESSIONS),
            steps: BinaryHeap::new(),
            branches: VecDeque::new(),
            next_session: FIRST_SESSION,
        };
        for slot in 0..OPEN_SESSIONS {
            let first = service.begin_session();
            service.open.push(first);
            service.schedule(0, slot);
        }
        service
    }

    /// Returns the first prompt of a new session.
    fn begin_session(&mut self) -> Prompt {
        // Samples are integers from 1, of which 1 is the most popular.
        let kind = self.popularity.sample(&mut self.rng) as usize - 1;
        let tools = Part {
            owner: kind as u64,
            end: self.tool_tokens[kind],
        };
        let task = self.texts.task.tokens(MAX_TEXT_TOKENS, &mut self.rng);
        let owner = self.new_owner();
        let prompt = Prompt { parts: vec![tools] };
        grown(prompt, owner, task)
    }

    /// Returns the prompt after another tool call and its result, both owned by this session.
    fn step(&mut self, prompt: &Prompt, session: u64) -> Prompt {
        let call = self.texts.call.tokens(MAX_TEXT_TOKENS, &mut self.rng);
        let result = self.texts.result.tokens(MAX_TEXT_TOKENS, &mut self.rng);
        grown(prompt.clone(), session, call + result)
    }

    fn new_owner(&mut self) -> u64 {
        let owner = self.next_session;
        self.next_session += 1;
        owner
    }

    fn schedule(&mut self, now: u64, slot: usize) {
        let seconds = self.tool_seconds.time(&mut self.rng);
        self.steps
            .push(Reverse((now + (seconds * 1e6) as u64, slot)));
    }
}

impl Iterator for Agents {
    type Item = Prompt;

    fn next(&mut self) -> Option<Prompt> {
        let Reverse((now, slot)) = self.steps.pop()?;
        let prompt = self.open[slot].clone();
        if self.rng.random_bool(BRANCH) {
            let session = self.new_owner();
            let branch = self.step(&prompt, session);
            if branch.tokens() <= MAX_PROMPT_TOKENS {
                self.branches.push_back(branch);
            }
        }
        let session = prompt.parts.last()?.owner;
        let next = self.step(&prompt, session);
        let ends = self.rng.random_bool(LAST_STEP) || next.tokens() > MAX_PROMPT_TOKENS;
        self.open[slot] = if !ends {
            next
        } else if let Some(branch) = self.branches.pop_front() {
            branch
        } else {
            self.begin_session()
        };
        self.schedule(now, slot);
        Some(prompt)
    }
}

/// Appends tokens of an owner to the prompt.
fn grown(mut prompt: Prompt, owner: u64, tokens: u64) -> Prompt {
    let end = prompt.tokens() + tokens;
    match prompt.parts.last_mut() {
        Some(last) if last.owner == owner => last.end = end,
        _ => prompt.parts.push(Part { owner, end }),
    }
    prompt
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    fn prompts() -> Vec<Prompt> {
        Agents::new(3).take(3000).collect()
    }

    #[test]
    fn sessions_begin_with_one_of_a_few_prompts() {
        let tools: HashSet<(u64, u64)> = prompts()
            .iter()
            .map(|prompt| (prompt.parts[0].owner, prompt.parts[0].end))
            .collect();
        assert_eq!(tools.len(), KINDS);
        assert!(tools.iter().all(|&(kind, _)| kind < KINDS as u64));
        let tokens: u64 = tools.iter().map(|&(_, tokens)| tokens).sum();
        assert!(tokens / KINDS as u64 > 1_500);
    }

    #[test]
    fn prompts_grow_step_by_step_and_stay_within_the_limit() {
        let mut last: HashMap<u64, Prompt> = HashMap::new();
        let mut steps = 0;
        for prompt in prompts() {
            assert!(prompt.tokens() <= MAX_PROMPT_TOKENS);
            assert!(prompt.parts.is_sorted_by(|a, b| a.end < b.end));
            let session = prompt.parts.last().unwrap().owner;
            if let Some(before) = last.insert(session, prompt.clone()) {
                let (own, shared) = prompt.parts.split_last().unwrap();
                assert_eq!(before.parts[..shared.len()], *shared);
                assert!(own.end > before.tokens());
                steps += 1;
            }
        }
        assert!(steps > 2000, "{steps}");
    }

    #[test]
    fn branches_go_on_from_what_another_session_had() {
        let prompts = prompts();
        let asked: HashSet<(u64, u64)> = prompts
            .iter()
            .map(|prompt| prompt.parts.last().unwrap())
            .map(|part| (part.owner, part.end))
            .collect();
        let mut branches = HashSet::new();
        for prompt in &prompts {
            for part in &prompt.parts[1..prompt.parts.len() - 1] {
                assert!(asked.contains(&(part.owner, part.end)));
                branches.insert(prompt.parts.last().unwrap().owner);
            }
        }
        assert!(branches.len() > 100, "{}", branches.len());
    }
}
