//! Extents: items too large for a segment, each in memory of its own that a reader can keep.

use bytes::Bytes;

use crate::budget::Charge;
use crate::evict::Queue;
use crate::item::Header;

/// What one extent costs beside key and value: its place in the list, in a queue, reference count, the
/// allocator's own.
const EXTENT_OVERHEAD_BYTES: usize = 512;
/// Allocators give large pieces in whole pages.
const PAGE_BYTES: usize = 4096;

/// A large item. `header.value_bytes` is exact: an item is at most 1 GiB.
#[derive(Debug)]
pub(crate) struct Extent {
    pub(crate) header: Header,
    pub(crate) queue: Queue,
    pub(crate) key: Box<[u8]>,
    pub(crate) value: Bytes,
}

impl Extent {
    /// What the extent takes of the budget.
    pub(crate) fn charged_bytes(&self) -> usize {
        charged_bytes(self.key.len(), self.value.len())
    }
}

/// What a large item takes of the budget.
pub(crate) fn charged_bytes(key_bytes: usize, value_bytes: usize) -> usize {
    value_bytes.next_multiple_of(PAGE_BYTES) + key_bytes + EXTENT_OVERHEAD_BYTES
}

/// A value that holds its charge until the last reader lets it go: an evicted item that is still being sent
/// stays within the budget.
pub(crate) fn charged_value(value: Vec<u8>, charge: Charge) -> Bytes {
    Bytes::from_owner(ChargedValue { value, _charge: charge })
}

struct ChargedValue {
    value: Vec<u8>,
    _charge: Charge,
}

impl AsRef<[u8]> for ChargedValue {
    fn as_ref(&self) -> &[u8] {
        &self.value
    }
}

/// All extents of a shard, by number.
#[derive(Debug, Default)]
pub(crate) struct Extents {
    slots: Vec<Option<Extent>>,
    free: Vec<u32>,
    bytes: usize,
}

impl Extents {
    /// What all extents take of the budget.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// One past the largest number ever given.
    pub(crate) fn end(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(crate) fn insert(&mut self, extent: Extent) -> u32 {
        self.bytes += extent.charged_bytes();
        if let Some(id) = self.free.pop() {
            self.slots[id as usize] = Some(extent);
            return id;
        }
        self.slots.push(Some(extent));
        self.slots.len() as u32 - 1
    }

    pub(crate) fn remove(&mut self, id: u32) -> Extent {
        let extent = self.slots[id as usize].take().expect("only extents in use are removed");
        self.bytes -= extent.charged_bytes();
        self.free.push(id);
        extent
    }

    pub(crate) fn get(&self, id: u32) -> &Extent {
        self.slots[id as usize].as_ref().expect("the table and the queues name only extents in use")
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> &mut Extent {
        self.slots[id as usize].as_mut().expect("the table and the queues name only extents in use")
    }

    /// The extent of this number, if it is in use.
    pub(crate) fn try_get(&self, id: u32) -> Option<&Extent> {
        self.slots.get(id as usize)?.as_ref()
    }
}
