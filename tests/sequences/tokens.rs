//! Tokens cut into blocks of any size, compared with the reference.

use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Op {
    Extend(Vec<u32>),
    Append(u32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        prop::collection::vec(0..1000u32, 0..150).prop_map(Op::Extend),
        (0..1000u32).prop_map(Op::Append),
    ]
}

macro_rules! side {
    ($name:ident, $krate:ident) => {
        fn $name(tokens: Vec<u32>, size: u32, salt: Option<u64>, ops: &[Op]) -> Vec<String> {
            let mut sequence = $krate::BlockSequence::new(tokens, size, salt);
            let mut seen = Vec::new();
            for op in ops {
                let answer = match op.clone() {
                    Op::Extend(tokens) => format!("{:?}", sequence.extend_tokens(tokens)),
                    Op::Append(token) => format!("{:?}", sequence.append_token(token)),
                };
                let hashes: Vec<u128> = (sequence.all_sequence_hashes().iter())
                    .map(|hash| hash.as_u128())
                    .collect();
                seen.push(format!(
                    "{answer} {} {} {} {} {hashes:?}",
                    sequence.blocks().len(),
                    sequence.block_size(),
                    sequence.total_tokens(),
                    sequence.sequence().total_tokens(),
                ));
            }
            seen
        }
    };
}

side!(ours, kvbm_lockfree);
side!(reference, kvbm_logical);

proptest! {
    #[test]
    fn sequences_are_cut_alike(
        tokens in prop::collection::vec(0..1000u32, 0..300),
        size in 1..=64u32,
        salt in prop::option::of(any::<u64>()),
        ops in prop::collection::vec(op(), 1..12),
    ) {
        let expected = reference(tokens.clone(), size, salt, &ops);
        prop_assert_eq!(ours(tokens, size, salt, &ops), expected);
    }
}
