//! The sequence hashes that a case uses: a small forest of lineage chains.
//!
//! With a few dozen nodes and a pool of about as many blocks, hits, duplicates and evictions are
//! frequent. Some chains start at position 0 and come with token blocks. Others start where the
//! width of the parent fragment changes (255 to 256, 65,535 to 65,536), below a parent that no
//! pool ever holds, or at a non-zero position without a parent.

use std::collections::HashSet;

use dynamo_tokens::{PositionalLineageHash, TokenBlock, TokenBlockSequence};

/// The length of the longest chain, counted from its root.
const MAX_DEPTH: usize = 8;

/// How a node of the forest is created, in the order of creation.
#[derive(Debug, Clone, Copy)]
pub enum Sprout {
    /// A root at position 0 whose chain consists of token blocks.
    Tokens,
    /// A root at this position, below a parent outside the forest.
    At(u64),
    /// A root at this position that has no parent.
    Orphan(u64),
    /// A child of the node this many steps back; or a sibling of that node, if its chain has the
    /// maximum length.
    Child(usize),
}

/// One sequence hash and its place in the forest.
#[derive(Debug)]
pub struct Node {
    pub hash: PositionalLineageHash,
    pub tokens: Option<TokenBlock>,
    parent: Option<usize>,
    depth: usize,
}

/// All sequence hashes of a case.
#[derive(Debug)]
pub struct Forest {
    nodes: Vec<Node>,
    /// A token block whose size differs from that of the pools' blocks.
    misfit: TokenBlock,
}

impl Forest {
    /// Grows the forest. It has at least one node, whatever `sprouts` contains.
    pub fn grow(sprouts: &[Sprout], block_size: usize) -> Self {
        let mut forest = Forest {
            nodes: Vec::new(),
            misfit: token_block(&[u32::MAX], block_size * 2),
        };
        forest.sprout(Sprout::Tokens, block_size);
        for &sprout in sprouts {
            forest.sprout(sprout, block_size);
        }
        forest.assert_keys_unique();
        forest
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub fn hash(&self, pick: usize) -> PositionalLineageHash {
        self.node(pick).hash
    }

    pub fn hashes(&self, picks: &[usize]) -> Vec<PositionalLineageHash> {
        picks.iter().map(|&pick| self.hash(pick)).collect()
    }

    /// Returns the hashes from the root of the picked node down to the node itself.
    pub fn path(&self, pick: usize) -> Vec<PositionalLineageHash> {
        self.path_indices(pick % self.nodes.len())
            .into_iter()
            .map(|index| self.nodes[index].hash)
            .collect()
    }

    pub fn tokens(&self, pick: usize) -> Option<&TokenBlock> {
        self.node(pick).tokens.as_ref()
    }

    pub fn misfit(&self) -> &TokenBlock {
        &self.misfit
    }

    fn node(&self, pick: usize) -> &Node {
        &self.nodes[pick % self.nodes.len()]
    }

    fn path_indices(&self, index: usize) -> Vec<usize> {
        let mut path = vec![index];
        while let Some(parent) = self.nodes[path[path.len() - 1]].parent {
            path.push(parent);
        }
        path.reverse();
        path
    }

    fn sprout(&mut self, sprout: Sprout, block_size: usize) {
        let index = self.nodes.len();
        let node = match sprout {
            Sprout::Tokens => self.token_node(None, block_size),
            Sprout::At(position) => {
                let outside = Some(mix(!(index as u64)));
                Node::root(PositionalLineageHash::new(
                    mix(index as u64),
                    outside,
                    position,
                ))
            }
            Sprout::Orphan(position) => Node::root(PositionalLineageHash::new(
                mix(index as u64),
                None,
                position,
            )),
            Sprout::Child(back) => {
                let near = index - 1 - back % index;
                let parent = match self.nodes[near].parent {
                    Some(parent) if self.nodes[near].depth + 1 >= MAX_DEPTH => parent,
                    _ => near,
                };
                if self.nodes[parent].tokens.is_some() {
                    self.token_node(Some(parent), block_size)
                } else {
                    Node {
                        hash: self.nodes[parent].hash.extend(mix(index as u64)),
                        tokens: None,
                        parent: Some(parent),
                        depth: self.nodes[parent].depth + 1,
                    }
                }
            }
        };
        self.nodes.push(node);
    }

    fn token_node(&self, parent: Option<usize>, block_size: usize) -> Node {
        let mut labels: Vec<u32> = match parent {
            Some(parent) => self
                .path_indices(parent)
                .into_iter()
                .map(|i| i as u32)
                .collect(),
            None => Vec::new(),
        };
        labels.push(self.nodes.len() as u32);
        let tokens = token_block(&labels, block_size);
        Node {
            hash: tokens.positional_lineage_hash(),
            tokens: Some(tokens),
            parent,
            depth: labels.len() - 1,
        }
    }

    /// The reference panics if two hashes have the same position and the same fragment, by which
    /// children refer to their parents. No case may contain such a pair.
    fn assert_keys_unique(&self) {
        let keys: HashSet<_> = self
            .nodes
            .iter()
            .map(|node| {
                let position = node.hash.position();
                let fragment = node.hash.parent_fragment_for_child_position(position + 1);
                (position, fragment)
            })
            .collect();
        assert_eq!(keys.len(), self.nodes.len(), "two nodes share a key");
    }
}

impl Node {
    fn root(hash: PositionalLineageHash) -> Self {
        Node {
            hash,
            tokens: None,
            parent: None,
            depth: 0,
        }
    }
}

/// Returns the last of a chain of token blocks, one per label.
fn token_block(labels: &[u32], block_size: usize) -> TokenBlock {
    let tokens: Vec<u32> = labels
        .iter()
        .flat_map(|&label| std::iter::repeat_n(label, block_size))
        .collect();
    TokenBlockSequence::from_slice(&tokens, block_size as u32, None)
        .last_complete_block()
        .expect("every label fills one block")
        .clone()
}

/// Spreads small labels over all 64 bits (SplitMix64).
fn mix(label: u64) -> u64 {
    let mut z = label.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
