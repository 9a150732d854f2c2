//! LRU.

use super::Policy;
use super::queue::{Links, Queue};

pub(super) struct Lru {
    capacity_bytes: u64,
    present: Vec<bool>,
    links: Links,
    queue: Queue,
}

impl Lru {
    pub(super) fn new(capacity_bytes: u64, keys: u32) -> Lru {
        let present = vec![false; keys as usize];
        Lru { capacity_bytes, present, links: Links::new(keys), queue: Queue::new() }
    }
}

impl Policy for Lru {
    fn request(&mut self, key: u32, bytes: u32) -> bool {
        if self.present[key as usize] {
            self.queue.refresh(&mut self.links, key);
            return true;
        }
        if u64::from(bytes) > self.capacity_bytes {
            return false;
        }
        while self.queue.bytes() + u64::from(bytes) > self.capacity_bytes {
            let oldest = self.queue.oldest().expect("an empty queue has room for what fits the capacity");
            self.queue.take(&mut self.links, oldest);
            self.present[oldest as usize] = false;
        }
        self.queue.push(&mut self.links, key, bytes);
        self.present[key as usize] = true;
        false
    }

    #[cfg(test)]
    fn held_bytes(&self) -> u64 {
        self.queue.bytes()
    }
}
