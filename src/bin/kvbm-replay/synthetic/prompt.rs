//! Prompts, and which of their blocks are equal.

use crate::workload::block_hash;

/// Consecutive tokens of a prompt that belong to one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Identifies the source of the tokens. Two prompts share their leading parts as long as the
    /// owners and ends of these parts are equal.
    pub owner: u64,
    /// The length of the prompt up to and including this part, in tokens.
    pub end: u64,
}

/// The prompt of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// The parts, none of which is empty.
    pub parts: Vec<Part>,
}

impl Prompt {
    /// Returns the number of tokens.
    pub fn tokens(&self) -> u64 {
        self.parts.last().map_or(0, |part| part.end)
    }

    /// Returns the hashes of the full blocks.
    ///
    /// A block belongs to the owner of its last token. If a block contains the end of a shared part
    /// and the start of a part of the prompt's own, it is therefore not shared.
    pub fn blocks(&self, block_size: u64) -> impl Iterator<Item = u64> {
        let mut index = 0;
        self.parts.iter().flat_map(move |part| {
            let first = index;
            index = part.end / block_size;
            (first..index).map(|index| block_hash(part.owner, index))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(parts: &[(u64, u64)]) -> Prompt {
        let part = |&(owner, end)| Part { owner, end };
        Prompt {
            parts: parts.iter().map(part).collect(),
        }
    }

    #[test]
    fn blocks_that_shared_parts_fill_are_shared() {
        let one: Vec<u64> = prompt(&[(5, 40), (8, 70)]).blocks(16).collect();
        let two: Vec<u64> = prompt(&[(5, 40), (9, 70)]).blocks(16).collect();
        assert_eq!((one.len(), two.len()), (4, 4));
        assert_eq!(one[..2], two[..2]);
        assert_ne!(one[2], two[2]);
        assert_eq!(one[2], block_hash(8, 2));
    }

    #[test]
    fn short_parts_have_no_block_of_their_own() {
        let blocks: Vec<u64> = prompt(&[(5, 10), (6, 15), (7, 33)]).blocks(16).collect();
        assert_eq!(blocks, [block_hash(7, 0), block_hash(7, 1)]);
        assert_eq!(prompt(&[(5, 10)]).blocks(16).count(), 0);
    }
}
