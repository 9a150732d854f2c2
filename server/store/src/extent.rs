//! Extents: items too large for a segment, each in memory of its own that a reader can keep.

use bytes::Bytes;

use crate::budget::Charge;
use crate::evict::Queue;
use crate::item::Header;

/// What one extent costs beside its pieces and key: its place in the list, in a queue, the allocator's own.
const EXTENT_OVERHEAD_BYTES: usize = 384;
/// The most of a value that lies in one piece. All pieces but the last are of this size, so that the allocator
/// can use every freed one again as it is: with values in one piece each, of whatever size, its fragments
/// came to 60 % on top of the budget.
const PIECE_BYTES: usize = 16 << 10;
/// The last piece is rounded up to a multiple of this: few sizes, for the same reason.
const LAST_PIECE_UNIT: usize = 4 << 10;
/// What one piece costs beside its bytes: the handle in the list, the reference count, its charge.
const PIECE_OVERHEAD_BYTES: usize = 160;

/// A large item. `header.value_bytes` is exact: an item is at most 1 GiB.
#[derive(Debug)]
pub(crate) struct Extent {
    pub(crate) header: Header,
    pub(crate) queue: Queue,
    pub(crate) key: Box<[u8]>,
    value: Prepared,
}

impl Extent {
    pub(crate) fn new(header: Header, queue: Queue, key: &[u8], value: Prepared) -> Extent {
        Extent { header, queue, key: key.into(), value }
    }

    /// The value, in order.
    pub(crate) fn pieces(&self) -> &[Bytes] {
        &self.value.pieces
    }

    /// What the extent takes of the budget.
    pub(crate) fn charged_bytes(&self) -> usize {
        charged_bytes(self.key.len(), self.header.value_bytes as usize)
    }
}

/// What a large item takes of the budget.
pub(crate) fn charged_bytes(key_bytes: usize, value_bytes: usize) -> usize {
    let pieces = value_bytes.div_ceil(PIECE_BYTES);
    let overhead = key_bytes + EXTENT_OVERHEAD_BYTES + pieces * PIECE_OVERHEAD_BYTES;
    value_bytes.next_multiple_of(LAST_PIECE_UNIT) + overhead
}

/// A large value in charged memory, ready to become an extent.
#[derive(Debug)]
pub(crate) struct Prepared {
    pieces: Box<[Bytes]>,
    /// Held for all of the extent but its pieces.
    _charge: Charge,
}

impl Prepared {
    /// Copies a value into pieces. Each holds its part of the charge until its last reader lets it go, so an
    /// evicted item that is still being sent stays within the budget. `charge` is for [`charged_bytes`].
    pub(crate) fn new(value: &[u8], mut charge: Charge) -> Prepared {
        let pieces = value.chunks(PIECE_BYTES).map(|chunk| {
            let capacity = chunk.len().next_multiple_of(LAST_PIECE_UNIT);
            let mut value = Vec::with_capacity(capacity);
            value.extend_from_slice(chunk);
            let charge = charge.split(capacity + PIECE_OVERHEAD_BYTES).expect("the charge covers all pieces");
            Bytes::from_owner(Piece { value, _charge: charge })
        });
        Prepared { pieces: pieces.collect(), _charge: charge }
    }
}

struct Piece {
    value: Vec<u8>,
    _charge: Charge,
}

impl AsRef<[u8]> for Piece {
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
