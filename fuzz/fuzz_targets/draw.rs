//! Small numbers drawn from the fuzzer's bytes.
//!
//! Every choice takes one byte, so mutating a byte changes one choice, and the following ones
//! keep their meaning. When the bytes are used up, every choice is the first one.

use arbitrary::Unstructured;

/// Draws choices from the bytes of an input.
pub struct Draw<'a, 'b>(pub &'a mut Unstructured<'b>);

impl Draw<'_, '_> {
    /// Returns whether there are bytes left.
    pub fn has_more(&self) -> bool {
        !self.0.is_empty()
    }

    /// Returns a number less than `end`, which must be at least 1.
    pub fn below(&mut self, end: usize) -> usize {
        self.0
            .int_in_range(0..=end - 1)
            .expect("running out of bytes is no error")
    }

    /// Returns true once in this many draws.
    pub fn once_in(&mut self, draws: usize) -> bool {
        self.below(draws) == draws - 1
    }

    /// Returns one of the choices.
    pub fn one_of<C: Copy>(&mut self, choices: &[C]) -> C {
        choices[self.below(choices.len())]
    }

    /// Returns the results of fewer than `end` draws.
    pub fn several<C>(&mut self, end: usize, mut draw: impl FnMut(&mut Self) -> C) -> Vec<C> {
        let count = self.below(end);
        (0..count).map(|_| draw(self)).collect()
    }

    /// Draws at most `max` times while there are bytes left.
    pub fn rest<C>(&mut self, max: usize, mut draw: impl FnMut(&mut Self) -> C) -> Vec<C> {
        let mut drawn = Vec::new();
        while drawn.len() < max && self.has_more() {
            drawn.push(draw(self));
        }
        drawn
    }
}
