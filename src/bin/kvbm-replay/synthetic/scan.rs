//! The requests of the chat service, interspersed with documents that are read once.
//!
//! Now and then, a request reads a long document that is never requested again. The other requests
//! are those of the [chat service](super::chat) with the same seed. A policy loses hits if it lets
//! such documents displace blocks that conversations will use again.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::chat::Chat;
use super::lengths::Lengths;
use super::prompt::{Part, Prompt};

/// The probability that a request reads a document.
const DOCUMENT: f64 = 0.08;

const MEDIAN_DOCUMENT_TOKENS: f64 = 6_000.0;

const MAX_DOCUMENT_TOKENS: u64 = 24_576;

/// The first owner that stands for a document. Smaller ones belong to the chat service.
const FIRST_DOCUMENT: u64 = 1 << 48;

/// The chat service and the state of the document generator.
pub struct Scan {
    chat: Chat,
    /// Used for documents only, so that the conversations are the same as without them.
    rng: StdRng,
    document: Lengths,
    next_document: u64,
}

impl Scan {
    /// Creates the service for a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            chat: Chat::new(seed),
            rng: StdRng::seed_from_u64(!seed),
            document: Lengths::around(MEDIAN_DOCUMENT_TOKENS, 0.6),
            next_document: FIRST_DOCUMENT,
        }
    }

    fn read_document(&mut self) -> Prompt {
        let owner = self.next_document;
        self.next_document += 1;
        let end = self.document.tokens(MAX_DOCUMENT_TOKENS, &mut self.rng);
        Prompt {
            parts: vec![Part { owner, end }],
        }
    }
}

impl Iterator for Scan {
    type Item = Prompt;

    fn next(&mut self) -> Option<Prompt> {
        if self.rng.random_bool(DOCUMENT) {
            Some(self.read_document())
        } else {
            self.chat.next()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn documents_come_between_the_requests_of_the_chat() {
        let is_document = |prompt: &Prompt| prompt.parts[0].owner >= FIRST_DOCUMENT;
        let (documents, chat): (Vec<Prompt>, Vec<Prompt>) =
            Scan::new(3).take(2000).partition(is_document);
        assert!((100..250).contains(&documents.len()));
        let without: Vec<Prompt> = Chat::new(3).take(chat.len()).collect();
        assert_eq!(chat, without);
    }

    #[test]
    fn no_document_is_read_twice_and_they_are_long() {
        let documents: Vec<Part> = Scan::new(3)
            .take(2000)
            .map(|prompt| prompt.parts[0])
            .filter(|part| part.owner >= FIRST_DOCUMENT)
            .collect();
        let owners: HashSet<u64> = documents.iter().map(|part| part.owner).collect();
        assert_eq!(owners.len(), documents.len());
        let tokens: u64 = documents.iter().map(|part| part.end).sum();
        assert!(tokens / documents.len() as u64 > 5_000);
        assert!(documents.iter().all(|part| part.end <= MAX_DOCUMENT_TOKENS));
    }
}
