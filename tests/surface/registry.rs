//! The registry: handles, attachments and presence.

use std::any::TypeId;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::kvbm;
use kvbm::manager::FrequencyTrackingCapacity;
use kvbm::registry::{
    AttachmentError, BlockRegistrationHandle, BlockRegistry, BlockRegistryBuilder, TypedAttachments,
};
use kvbm::{BlockManager, SequenceHash};

#[derive(Clone)]
struct Tier;

fn hash(position: u64) -> SequenceHash {
    SequenceHash::new(10 + position, None, position)
}

pub fn run() -> Vec<String> {
    let mut said = Vec::new();
    let registry: BlockRegistry = BlockRegistryBuilder::new()
        .frequency_tracker(FrequencyTrackingCapacity::Small.create_tracker())
        .build();
    say!(said, registry.has_frequency_tracking());
    say!(said, BlockRegistry::default().has_frequency_tracking());
    say!(said, BlockRegistry::builder().build().registered_count());

    let handle: BlockRegistrationHandle = registry.register_sequence_hash(hash(1));
    let more = registry.register_sequence_hashes([hash(2), hash(3)]);
    registry.touch(hash(1));
    say!(said, registry.count(hash(1)));
    say!(
        said,
        registry
            .frequency_tracker()
            .map(|tracker| tracker.count(hash(1).as_u128()))
    );
    say!(said, registry.registered_count());
    say!(said, registry.is_registered(hash(2)));
    drop(more);
    say!(said, registry.is_registered(hash(2)));
    say!(
        said,
        registry
            .match_sequence_hash(hash(1), true)
            .map(|handle| handle.seq_hash())
    );
    say!(said, registry.match_sequence_hash(hash(2), true).is_none());
    say!(said, handle.is_from_registry(&registry.clone()));
    say!(said, handle.is_from_registry(&BlockRegistry::new()));

    let touched = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&touched);
    handle.on_touch(Arc::new(move |_hash| {
        counter.fetch_add(1, Ordering::Relaxed);
    }));
    handle.touch();
    say!(said, touched.load(Ordering::Relaxed));

    say!(said, handle.attach_unique(7_u32));
    say!(said, handle.attach("a"));
    say!(said, handle.attach("b"));
    let refused = handle.attach(8_u32);
    say!(
        said,
        matches!(refused, Err(AttachmentError::TypeAlreadyRegisteredAsUnique(id)) if id == TypeId::of::<u32>())
    );
    let refused = handle.attach_unique("c").unwrap_err();
    say!(
        said,
        matches!(refused, AttachmentError::TypeAlreadyRegisteredAsMultiple(_))
    );
    let numbers: TypedAttachments<'_, u32> = handle.get::<u32>();
    say!(said, numbers.with_unique(|number| *number));
    say!(
        said,
        numbers.with_unique_mut(|number| {
            *number += 1;
            *number
        })
    );
    say!(
        said,
        numbers.with_all(|unique, multiple| (unique.copied(), multiple.len()))
    );
    let words = handle.get::<&'static str>();
    say!(
        said,
        words.with_multiple(|words| words
            .iter()
            .map(|word| word.to_string())
            .collect::<Vec<_>>())
    );
    words.with_multiple_mut(|words| *words[0] = "z");
    say!(
        said,
        words.with_all_mut(|unique, words| (unique.is_some(), words[0].to_string()))
    );

    let manager = BlockManager::<Tier>::builder()
        .block_count(2)
        .block_size(1)
        .registry(registry.clone())
        .build()
        .unwrap();
    let block = manager.allocate_blocks(1).unwrap().pop().unwrap();
    let block = manager.register_block(block.stage(hash(1), 1).unwrap());
    say!(said, handle.has_block::<Tier>());
    say!(said, handle.has_any_block(&[TypeId::of::<u8>()]));
    say!(said, registry.check_presence::<Tier>(&[hash(1), hash(2)]));
    say!(
        said,
        registry.check_presence_any(&[hash(1)], &[TypeId::of::<Tier>()])
    );
    drop(block);
    say!(said, handle.has_block::<Tier>());
    said
}
