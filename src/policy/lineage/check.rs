//! Verifies the structure of the graph, from the nodes down.
//!
//! Everything that is maintained step by step elsewhere is counted afresh here: residents,
//! children and leaves. O(nodes + slots), and it allocates.

use super::graph::Lineage;
use super::leaves::Leaves;
use crate::policy::containers::{NIL, ensure};
use crate::policy::slot_policy::SlotPolicy;

impl<L: Leaves> Lineage<L> {
    pub(super) fn check_graph(&self) -> Result<(), String> {
        self.nodes.check()?;
        let mut children = vec![0; self.nodes.bound()];
        let (mut listed, mut leaves) = (0, 0);
        for (number, node) in self.nodes.in_use() {
            let links = if node.resident == NIL {
                ensure(node.children > 0, || format!("ghost {number} is childless"))?;
                vec![node.parent]
            } else {
                ensure(node.parent == NIL, || {
                    format!("node {number} has residents and a link of its own")
                })?;
                self.check_residents(number)?
            };
            if node.resident != NIL {
                listed += links.len();
                leaves += if node.children == 0 { links.len() } else { 0 };
            }
            for parent in links.into_iter().filter(|&parent| parent != NIL) {
                children[parent as usize] += 1;
            }
        }

        for (number, node) in self.nodes.in_use() {
            let (counted, linked) = (node.children, children[number as usize]);
            ensure(counted == linked, || {
                format!("node {number} counts {counted} children, but {linked} are linked to it")
            })?;
        }
        let marked = self.len();
        ensure(listed == marked, || {
            format!("{listed} slots are residents, {marked} are marked so")
        })?;
        let ordered = self.leaves.check()?;
        ensure(leaves == ordered, || {
            format!("{leaves} leaves in the graph, {ordered} in the order")
        })
    }

    /// Verifies the ring of twins at node `number`, and that either all of them or none are
    /// leaves. Returns the parent link of each.
    fn check_residents(&self, number: u32) -> Result<Vec<u32>, String> {
        let node = &self.nodes[number];
        let mut links = Vec::new();
        let mut slot = node.resident;
        loop {
            let resident = self.residents.get(slot);
            let next = resident.next;
            ensure(
                resident.node == number
                    && self.residents.has(next)
                    && self.residents.get(next).prev == slot,
                || format!("slot {slot} does not fit the ring of node {number}"),
            )?;
            let leaf = self.leaves.contains(slot);
            ensure(leaf == (node.children == 0), || {
                let children = node.children;
                format!("slot {slot} has {children} children, and is a leaf: {leaf}")
            })?;
            links.push(resident.parent);
            slot = resident.next;
            if slot == node.resident {
                let (twins, counted) = (links.len() - 1, node.twins);
                ensure(counted as usize == twins, || {
                    format!("node {number} counts {counted} twins, but has {twins}")
                })?;
                return Ok(links);
            }
        }
    }
}
