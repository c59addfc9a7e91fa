//! Synthetic workloads, generated from a seed.
//!
//! As in a trace, a request consists of its prompt. The answer to a request becomes part of the
//! next prompt.
//!
//! The same service, seed, number of requests, and block size always give the same workload. A
//! larger number of requests extends it, and another block size divides the same prompts into
//! different blocks.

mod agent;
mod chat;
mod lengths;
mod prompt;
mod scan;

use clap::ValueEnum;
use serde::Serialize;

use self::prompt::Prompt;
use crate::workload::{Builder, Workload, WorkloadError};

/// A simulated service that generates requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// Conversations of many tenants, each tenant with its own system prompt
    Chat,
    /// Agents that call tools in a loop, and sometimes branch
    Agent,
    /// The requests of `chat`, interspersed with long documents that are read once
    Scan,
}

impl Service {
    /// Generates the first `requests` requests.
    pub fn generate(
        self,
        seed: u64,
        requests: usize,
        block_size: usize,
    ) -> Result<Workload, WorkloadError> {
        let mut builder = Builder::new(block_size);
        for prompt in self.prompts(seed).take(requests) {
            builder.push(prompt.blocks(block_size as u64));
        }
        builder.finish()
    }

    /// Returns an endless iterator over the prompts, in the order of their arrival.
    fn prompts(self, seed: u64) -> Box<dyn Iterator<Item = Prompt>> {
        match self {
            Self::Chat => Box::new(chat::Chat::new(seed)),
            Self::Agent => Box::new(agent::Agents::new(seed)),
            Self::Scan => Box::new(scan::Scan::new(seed)),
        }
    }

    /// Returns the name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Agent => "agent",
            Self::Scan => "scan",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(workload: &Workload) -> Vec<&[kvbm_lockfree::SequenceHash]> {
        (0..workload.requests())
            .map(|index| workload.request(index))
            .collect()
    }

    #[test]
    fn every_service_has_one_name() {
        for service in Service::value_variants() {
            let on_the_command_line = service.to_possible_value().unwrap();
            assert_eq!(on_the_command_line.get_name(), service.name());
            assert_eq!(serde_json::to_value(service).unwrap(), service.name());
        }
    }

    #[test]
    fn the_seed_decides() {
        for service in Service::value_variants() {
            let one = service.generate(1, 300, 16).unwrap();
            let same = service.generate(1, 300, 16).unwrap();
            let other = service.generate(2, 300, 16).unwrap();
            assert_eq!(requests(&one), requests(&same));
            assert_ne!(requests(&one), requests(&other));
            assert_eq!(one.requests(), 300);
        }
    }

    #[test]
    fn more_requests_continue_the_same_service() {
        for service in Service::value_variants() {
            let short = service.generate(1, 100, 16).unwrap();
            let long = service.generate(1, 300, 16).unwrap();
            assert_eq!(requests(&short), requests(&long)[..100]);
        }
    }

    #[test]
    fn the_block_size_cuts_the_same_prompts() {
        for service in Service::value_variants() {
            let coarse = service.generate(1, 300, 64).unwrap();
            let fine = service.generate(1, 300, 16).unwrap();
            for (coarse, fine) in requests(&coarse).into_iter().zip(requests(&fine)) {
                assert_eq!(coarse.len(), fine.len() / 4);
            }
        }
    }
}
