//! S3-FIFO, plain or weighing size.
//!
//! ```text
//! new ──> small (10 %) ── asked for hits ──yes──> main (90 %) ── asked for hits ──yes──> again, hits spent
//!                              │ no                                   │ no
//!                              v                                      v
//!         main <── seen ── ghost (90 %)                              gone
//! ```

use super::Policy;
use super::queue::{Links, Queue};

/// Share of the capacity that the small queue may hold.
const SMALL_SHARE: f64 = 0.1;
/// What the ghosts stood for, as a share of the capacity.
const GHOST_SHARE: f64 = 0.9;
/// More hits than this are not counted.
const HITS_MAX: f32 = 3.0;
/// The least that is asked of the smallest item: it may stay so many rounds for one hit at most.
const ASKED_MIN: f32 = 1.0 / 20.0;

/// What an item is asked for before it is promoted or kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// One hit.
    OneHit,
    /// Its size over the mean size of all items there.
    BySize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Nowhere,
    Small,
    Main,
    Ghost,
}

pub(super) struct S3Fifo {
    capacity_bytes: u64,
    small_bytes_max: u64,
    ghost_bytes_max: u64,
    ask: Ask,
    places: Vec<Place>,
    hits: Vec<f32>,
    links: Links,
    small: Queue,
    main: Queue,
    ghost: Queue,
    /// Items in the small and the main queue.
    items: u64,
}

impl S3Fifo {
    pub(super) fn new(capacity_bytes: u64, keys: u32, ask: Ask) -> S3Fifo {
        S3Fifo {
            capacity_bytes,
            small_bytes_max: (capacity_bytes as f64 * SMALL_SHARE) as u64,
            ghost_bytes_max: (capacity_bytes as f64 * GHOST_SHARE) as u64,
            ask,
            places: vec![Place::Nowhere; keys as usize],
            hits: vec![0.0; keys as usize],
            links: Links::new(keys),
            small: Queue::new(),
            main: Queue::new(),
            ghost: Queue::new(),
            items: 0,
        }
    }

    fn held(&self) -> u64 {
        self.small.bytes() + self.main.bytes()
    }

    /// Hits that are asked of an item of this size.
    fn asked(&self, bytes: u32) -> f32 {
        match self.ask {
            Ask::OneHit => 1.0,
            Ask::BySize => {
                let mean = self.held() as f32 / self.items as f32;
                (bytes as f32 / mean).max(ASKED_MIN)
            }
        }
    }

    fn evict(&mut self) {
        let main_bytes_max = self.capacity_bytes - self.small_bytes_max;
        if self.small.oldest().is_none()
            || (self.main.bytes() > main_bytes_max && self.main.oldest().is_some())
        {
            self.evict_from_main();
        } else {
            self.evict_from_small();
        }
    }

    /// One item leaves the small queue: to the main one if it was read often enough.
    fn evict_from_small(&mut self) {
        let Some(key) = self.small.oldest() else { return };
        let bytes = self.links.bytes(key);
        let promoted = self.hits[key as usize] >= self.asked(bytes);
        self.small.take(&mut self.links, key);
        if promoted {
            self.hits[key as usize] = 0.0;
            self.places[key as usize] = Place::Main;
            self.main.push(&mut self.links, key, bytes);
            return;
        }
        self.items -= 1;
        self.places[key as usize] = Place::Ghost;
        self.ghost.push(&mut self.links, key, bytes);
        while self.ghost.bytes() > self.ghost_bytes_max {
            let Some(oldest) = self.ghost.oldest() else { return };
            self.ghost.take(&mut self.links, oldest);
            self.places[oldest as usize] = Place::Nowhere;
        }
    }

    /// The main queue's oldest item goes, or pays with its hits for another round.
    fn evict_from_main(&mut self) {
        let Some(key) = self.main.oldest() else { return };
        let asked = self.asked(self.links.bytes(key));
        if self.hits[key as usize] >= asked {
            self.hits[key as usize] -= asked;
            self.main.refresh(&mut self.links, key);
            return;
        }
        self.main.take(&mut self.links, key);
        self.places[key as usize] = Place::Nowhere;
        self.items -= 1;
    }
}

impl Policy for S3Fifo {
    fn request(&mut self, key: u32, bytes: u32) -> bool {
        let at = key as usize;
        if matches!(self.places[at], Place::Small | Place::Main) {
            self.hits[at] = (self.hits[at] + 1.0).min(HITS_MAX);
            return true;
        }
        if u64::from(bytes) > self.capacity_bytes {
            return false;
        }
        // Seen lately: look before evicting, which may forget it.
        let is_known = self.places[at] == Place::Ghost;
        if is_known {
            self.ghost.take(&mut self.links, key);
            self.places[at] = Place::Nowhere;
        }
        while self.held() + u64::from(bytes) > self.capacity_bytes {
            self.evict();
        }
        let (queue, place) = match is_known {
            true => (&mut self.main, Place::Main),
            false => (&mut self.small, Place::Small),
        };
        queue.push(&mut self.links, key, bytes);
        self.places[at] = place;
        self.hits[at] = 0.0;
        self.items += 1;
        false
    }

    #[cfg(test)]
    fn held_bytes(&self) -> u64 {
        self.held()
    }
}
