//! Generated schedules, checked against a model that computes KV.
//!
//! The model has a memory with a row of slots per block, and fills it as a GPU would: a slot
//! holds a number that stands for a token and all tokens before it. It tracks what each
//! request has computed from nothing but the steps that were applied. After every call:
//!
//! * every block that can be matched holds what its hash promises, slot by slot;
//! * every block that a request holds and has computed can be matched;
//! * a request's positions equal those of the model;
//! * a call that was refused was refused for the same reason as in the model, and changed
//!   nothing.
//!
//! At the end, every request can be served to its last token, whatever state it was left in.

use kvbm_lockfree::blocks::BlockDuplicationPolicy;
use kvbm_lockfree::{
    ApplyError, BlockManager, BlockRegistry, BlockSequence, SchedulableSequence, ScheduleError,
    SequenceState,
};
use proptest::prelude::*;

use super::schedules::{Prompt, REQUESTS, Step, Tier, prompt, steps};

/// The content of a slot that has not been computed.
const GARBAGE: u64 = 0;

/// Returns, for each token, a number that stands for it and all tokens before it.
fn contents(tokens: &[u32]) -> Vec<u64> {
    tokens
        .iter()
        .scan(1_u64, |state, &token| {
            *state = (*state ^ u64::from(token)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            *state = state.rotate_left(29);
            Some(*state)
        })
        .collect()
}

/// A scheduled step: what it computes, and how many draft tokens follow.
#[derive(Clone, Copy)]
enum Scheduled {
    Prefill(usize),
    Decode,
    Draft(usize),
}

struct Request {
    real: SchedulableSequence<Tier>,
    prompt: usize,
    max_output: usize,
    tokens: Vec<u32>,
    /// Tokens that were computed by applied steps or matched, in blocks that are held.
    computed: usize,
    /// The largest value that `computed` has had.
    ever: usize,
    held: usize,
    scheduled: Option<Scheduled>,
}

struct Model {
    manager: BlockManager<Tier>,
    size: usize,
    memory: Vec<Vec<u64>>,
}

impl Model {
    fn new(size: usize, blocks: usize, policy: BlockDuplicationPolicy) -> Self {
        let manager = BlockManager::builder()
            .block_count(blocks)
            .block_size(size)
            .duplication_policy(policy)
            .registry(BlockRegistry::new())
            .build()
            .unwrap();
        Self {
            manager,
            size,
            memory: vec![vec![GARBAGE; size]; blocks],
        }
    }

    fn request(&self, prompt: &Prompt) -> Request {
        let (tokens, size) = (prompt.tokens.clone(), self.size as u32);
        Request {
            real: SchedulableSequence::new(tokens.clone(), prompt.max_output, size, None),
            prompt: tokens.len(),
            max_output: prompt.max_output,
            tokens,
            computed: 0,
            ever: 0,
            held: 0,
            scheduled: None,
        }
    }

    /// Returns how many leading cached blocks the request may match.
    fn cached(&self, request: &Request) -> usize {
        let tokens = request.tokens.len();
        let limit = tokens - usize::from(tokens > 0 && request.remaining() > 0);
        let known = BlockSequence::new(request.tokens.clone(), self.size as u32, None);
        let hashes = known.all_sequence_hashes();
        let found = self.manager.match_blocks(&hashes).len();
        found.min(limit / self.size)
    }

    /// Erases the fresh blocks of a request, from this position on.
    fn wipe(&mut self, request: &mut Request, from: usize) {
        let pages = request.real.inner().page_indices();
        for &page in &pages[from..] {
            self.memory[page as usize].fill(GARBAGE);
        }
        request.held = pages.len();
    }

    /// Runs a forward pass: reads the computed tokens, then writes the known tokens after them
    /// and a draft, some tokens of which turn out right.
    fn forward(&mut self, request: &Request, end: usize, sampled: &[u32], draft: usize) {
        let pages = request.real.inner().page_indices();
        let mut tokens = request.tokens[..end].to_vec();
        tokens.extend(sampled);
        let contents = contents(&tokens);
        for at in 0..end + draft {
            let slot = &mut self.memory[pages[at / self.size] as usize][at % self.size];
            if at < request.computed {
                assert_eq!(*slot, contents[at], "token {at} is read and not there");
            } else if at + 1 < tokens.len() || at < end {
                *slot = contents[at];
            } else {
                *slot = GARBAGE;
            }
        }
    }

    fn check(&self, requests: &[Request]) {
        for request in requests {
            let real = &request.real;
            let known = BlockSequence::new(request.tokens.clone(), self.size as u32, None);
            let contents = contents(&request.tokens);
            let found = self.manager.match_blocks(&known.all_sequence_hashes());
            for (block, contents) in found.iter().zip(contents.chunks(self.size)) {
                let slots = &self.memory[block.block_id()];
                assert_eq!(slots, contents, "a block is matched and not computed");
            }
            assert!(found.len() >= request.computed / self.size);
            drop(found);

            assert_eq!(real.kv_position(), request.computed);
            assert_eq!(
                real.prefill_position(),
                request.computed.min(request.prompt)
            );
            assert_eq!(real.assigned_blocks(), request.computed / self.size);
            assert_eq!(real.staged_blocks(), 0);
            assert_eq!(
                real.assigned_blocks() + real.unassigned_blocks(),
                request.held
            );
            assert!(request.computed <= request.held * self.size);
            assert_eq!(real.total_tokens(), request.tokens.len());
            assert_eq!(
                real.state() == SequenceState::Idle,
                request.scheduled.is_none()
            );
        }
        self.manager.audit().unwrap();
    }

    /// Takes a step if the request allows it, and otherwise checks that it is refused.
    fn take(&mut self, request: &mut Request, step: &Step) {
        let before = format!("{:?}", request.real);
        let free = self.manager.available_blocks();
        let refused = match step.clone() {
            Step::Match | Step::Reacquire if request.scheduled.is_none() && request.held > 0 => {
                return;
            }
            Step::DropUnassigned(_) if request.scheduled.is_some() => return,
            Step::Match => self.match_prefix(request),
            Step::Reacquire => self.reacquire(request),
            Step::Prefill(count) => self.schedule(request, Scheduled::Prefill(count)),
            Step::PrefillRest => {
                let rest = request.tokens.len() - request.computed;
                self.schedule(request, Scheduled::Prefill(rest))
            }
            Step::Decode => self.schedule(request, Scheduled::Decode),
            Step::Speculate(count) => self.schedule(request, Scheduled::Draft(count)),
            Step::ApplyPrefill(token) => self.apply_prefill(request, token),
            Step::ApplyChunk(token) => {
                let is_last = matches!(request.scheduled, Some(Scheduled::Prefill(count))
                    if request.computed + count == request.tokens.len());
                self.apply_prefill(
                    request,
                    (is_last && request.remaining() > 0).then_some(token),
                )
            }
            Step::ApplyDecode(token) => self.apply_decode(request, token),
            Step::Accept(tokens) => self.apply_draft(request, &tokens),
            Step::Revert => {
                let expected = request.scheduled.take().is_none();
                let reverted = request.real.revert_schedule();
                request.shrink();
                refused(expected, reverted.is_err())
            }
            Step::Append(tokens) => {
                let expected = request.scheduled.is_some() || tokens.len() > request.remaining();
                let appended = request.real.append_tokens(&tokens);
                if !expected {
                    request.tokens.extend(tokens);
                }
                refused(expected, appended.is_err())
            }
            Step::DropUnassigned(count) => {
                let dropped = request.real.drop_unassigned(count);
                assert_eq!(
                    dropped,
                    count.min(request.held - request.computed / self.size)
                );
                request.shrink();
                request.computed = request.computed.min(request.held * self.size);
                false
            }
            Step::Release => {
                let expected = request.scheduled.is_some();
                let released = request.real.release();
                if !expected {
                    (request.computed, request.held) = (0, 0);
                }
                refused(expected, released.is_err())
            }
        };
        if refused {
            assert_eq!(format!("{:?}", request.real), before);
            assert_eq!(self.manager.available_blocks(), free);
        }
    }

    fn match_prefix(&mut self, request: &mut Request) -> bool {
        let cached = self.cached(request);
        let matched = request.real.match_and_add_prefix(&self.manager);
        if request.scheduled.is_some() {
            return refused(true, matched.is_err());
        }
        assert_eq!(matched.unwrap(), cached);
        request.held = cached;
        request.advance(cached * self.size);
        false
    }

    fn reacquire(&mut self, request: &mut Request) -> bool {
        let cached = self.cached(request);
        let reacquired = request.real.reacquire(&self.manager);
        if request.scheduled.is_some() {
            return refused(true, reacquired.is_err());
        }
        if !reacquired.unwrap() {
            return true;
        }
        self.wipe(request, cached);
        assert_eq!(request.held, request.tokens.len() / self.size);
        request.advance(cached * self.size);
        false
    }

    fn schedule(&mut self, request: &mut Request, step: Scheduled) -> bool {
        let known = request.tokens.len();
        let (expected, end) = match step {
            Scheduled::Prefill(count) => (request.prefill_refusal(count), request.computed + count),
            // The next token needs a place, too.
            Scheduled::Decode => (request.decode_refusal(self.size), known + 1),
            Scheduled::Draft(count) => (
                request.decode_refusal(self.size),
                known + count.min(request.remaining()),
            ),
        };
        let needed = end.div_ceil(self.size).saturating_sub(request.held);
        let expected = expected.or((needed > self.manager.available_blocks()).then_some("blocks"));
        let answer = match step {
            Scheduled::Prefill(count) => request.real.schedule_prefill(count, &self.manager),
            Scheduled::Decode => request.real.schedule_decode(&self.manager),
            Scheduled::Draft(count) => request.real.schedule_speculative(count, &self.manager),
        };
        let actual = answer.err().map(|error| match error {
            ScheduleError::NotIdle { .. } => "idle",
            ScheduleError::PrefillComplete => "complete",
            ScheduleError::PrefillOverrun { .. } => "overrun",
            ScheduleError::PrefillNotComplete { .. } => "prompt",
            ScheduleError::GenerationComplete { .. } => "generated",
            ScheduleError::WrongDanglingCount { .. } => "tail",
            ScheduleError::AllocationFailed { .. } => "blocks",
        });
        assert_eq!(actual, expected);
        if actual.is_none() {
            self.wipe(request, request.held);
            request.scheduled = Some(step);
        }
        actual.is_some()
    }

    fn apply_prefill(&mut self, request: &mut Request, token: Option<u32>) -> bool {
        let Some(Scheduled::Prefill(count)) = request.scheduled else {
            let applied = request.real.apply_prefill(token, &self.manager);
            return refused(true, matches!(applied, Err(ApplyError::WrongState { .. })));
        };
        let end = request.computed + count;
        let yields = end == request.tokens.len() && request.remaining() > 0;
        if yields != token.is_some() {
            let applied = request.real.apply_prefill(token, &self.manager);
            return refused(true, applied.is_err());
        }
        self.forward(request, end, &[], 0);
        request.real.apply_prefill(token, &self.manager).unwrap();
        request.scheduled = None;
        request.advance(end);
        request.tokens.extend(token);
        false
    }

    fn apply_decode(&mut self, request: &mut Request, token: u32) -> bool {
        let Some(Scheduled::Decode) = request.scheduled else {
            let applied = request.real.apply_decode(token, &self.manager);
            return refused(true, applied.is_err());
        };
        let end = request.tokens.len();
        self.forward(request, end, &[], 0);
        request.real.apply_decode(token, &self.manager).unwrap();
        request.scheduled = None;
        request.advance(end);
        request.tokens.push(token);
        false
    }

    fn apply_draft(&mut self, request: &mut Request, accepted: &[u32]) -> bool {
        let draft = match request.scheduled {
            Some(Scheduled::Draft(count)) => count.min(request.remaining()),
            _ => 0,
        };
        if !matches!(request.scheduled, Some(Scheduled::Draft(_))) || accepted.len() > draft {
            let applied = request.real.apply_speculative(accepted, &self.manager);
            return refused(true, applied.is_err());
        }
        self.forward(request, request.tokens.len(), accepted, draft);
        request
            .real
            .apply_speculative(accepted, &self.manager)
            .unwrap();
        request.scheduled = None;
        request.tokens.extend(accepted);
        request.advance(request.tokens.len() - 1);
        request.shrink();
        request.computed = request.computed.min(request.held * self.size);
        false
    }

    /// Serves a request to its last token.
    fn finish(&mut self, request: &mut Request) {
        if request.scheduled.is_some() {
            self.take(request, &Step::Revert);
        }
        while request.remaining() > 0 && !request.tokens.is_empty() {
            let step = match request.decode_refusal(self.size) {
                None => Step::Decode,
                Some(_) => Step::PrefillRest,
            };
            self.take(request, &step);
            match request.scheduled {
                // The manager has too few blocks for it.
                None => return,
                Some(Scheduled::Decode) => self.take(request, &Step::ApplyDecode(7)),
                Some(_) => self.take(request, &Step::ApplyChunk(8)),
            }
        }
    }
}

fn refused(expected: bool, actual: bool) -> bool {
    assert_eq!(actual, expected, "refused");
    actual
}

impl Request {
    fn remaining(&self) -> usize {
        self.max_output - (self.tokens.len() - self.prompt)
    }

    fn advance(&mut self, computed: usize) {
        self.computed = self.computed.max(computed);
        self.ever = self.ever.max(computed);
    }

    /// Adjusts the model after the request has dropped blocks.
    fn shrink(&mut self) {
        self.held = self.real.inner().page_indices().len();
    }

    fn prefill_refusal(&self, count: usize) -> Option<&'static str> {
        let tail = self.tokens.len() - self.computed;
        match self.scheduled {
            Some(_) => Some("idle"),
            None if self.computed >= self.prompt && tail <= 1 => Some("complete"),
            None if count > tail => Some("overrun"),
            None => None,
        }
    }

    /// Returns why a decode is refused, if it is. A decode continues from the last token, which
    /// must be the only one that was never computed. It recomputes lost tokens of that token's
    /// block; all other blocks must be held.
    fn decode_refusal(&self, size: usize) -> Option<&'static str> {
        let known = self.tokens.len();
        let is_ready = self.ever >= self.prompt
            && self.ever + 1 == known
            && self.computed / size == (known - 1) / size;
        match self.scheduled {
            Some(_) => Some("idle"),
            None if !is_ready && self.computed < self.prompt => Some("prompt"),
            None if self.remaining() == 0 => Some("generated"),
            None if !is_ready => Some("tail"),
            None => None,
        }
    }
}

proptest! {
    #[test]
    fn what_is_matchable_is_computed(
        size in (0..=5u32).prop_map(|log| 1_usize << log),
        blocks in 1..40usize,
        rejects in any::<bool>(),
        prompts in prop::collection::vec(prompt(), REQUESTS),
        steps in steps(),
    ) {
        let policy = match rejects {
            true => BlockDuplicationPolicy::Reject,
            false => BlockDuplicationPolicy::Allow,
        };
        let mut model = Model::new(size, blocks, policy);
        let mut requests: Vec<_> =
            prompts.iter().map(|prompt| model.request(prompt)).collect();
        for (at, step) in &steps {
            model.take(&mut requests[*at], step);
            model.check(&requests);
        }
        for at in 0..REQUESTS {
            model.finish(&mut requests[at]);
            model.check(&requests);
            if requests[at].scheduled.is_none() {
                model.take(&mut requests[at], &Step::Release);
            }
        }
    }
}
