//! Doubly linked queues over numbered keys: a key is in one queue at most.

/// No key.
const NONE: u32 = u32::MAX;

/// The links of all queues over one set of keys.
pub(super) struct Links(Vec<Link>);

#[derive(Clone, Copy)]
struct Link {
    newer: u32,
    older: u32,
    bytes: u32,
}

/// One queue, from the newest to the oldest.
pub(super) struct Queue {
    newest: u32,
    oldest: u32,
    bytes: u64,
}

impl Links {
    pub(super) fn new(keys: u32) -> Links {
        Links(vec![Link { newer: NONE, older: NONE, bytes: 0 }; keys as usize])
    }

    /// Bytes of a key that is in a queue.
    pub(super) fn bytes(&self, key: u32) -> u32 {
        self.0[key as usize].bytes
    }
}

impl Queue {
    pub(super) fn new() -> Queue {
        Queue { newest: NONE, oldest: NONE, bytes: 0 }
    }

    /// Bytes of all its keys.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The oldest key.
    pub(super) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// Puts a key that is in no queue at the newest end.
    pub(super) fn push(&mut self, links: &mut Links, key: u32, bytes: u32) {
        links.0[key as usize] = Link { newer: NONE, older: self.newest, bytes };
        match self.newest {
            NONE => self.oldest = key,
            newest => links.0[newest as usize].newer = key,
        }
        self.newest = key;
        self.bytes += u64::from(bytes);
    }

    /// Takes out a key that is in this queue.
    pub(super) fn take(&mut self, links: &mut Links, key: u32) {
        let Link { newer, older, bytes } = links.0[key as usize];
        match newer {
            NONE => self.newest = older,
            newer => links.0[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => links.0[older as usize].newer = newer,
        }
        self.bytes -= u64::from(bytes);
    }

    /// Moves a key of this queue to its newest end.
    pub(super) fn refresh(&mut self, links: &mut Links, key: u32) {
        let bytes = links.bytes(key);
        self.take(links, key);
        self.push(links, key, bytes);
    }
}
