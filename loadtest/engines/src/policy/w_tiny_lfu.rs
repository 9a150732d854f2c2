//! W-TinyLFU: a small LRU window, then a segmented LRU that admits by frequency.
//!
//! The frequencies are exact where a real cache has a sketch; they are halved from time to time, as there.

use super::Policy;
use super::queue::{Links, Queue};

/// Share of the capacity that the window holds.
const WINDOW_SHARE: f64 = 0.01;
/// Share of the rest that is for items with a second hit.
const PROTECTED_SHARE: f64 = 0.8;
/// Frequencies count to this.
const FREQUENCY_MAX: u8 = 15;
/// Frequencies are halved after so many requests for each item that fits.
const SAMPLE_FACTOR: u64 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Nowhere,
    Window,
    Probation,
    Protected,
}

pub(super) struct WTinyLfu {
    capacity_bytes: u64,
    window_bytes_max: u64,
    protected_bytes_max: u64,
    places: Vec<Place>,
    frequencies: Vec<u8>,
    links: Links,
    window: Queue,
    probation: Queue,
    protected: Queue,
    items: u64,
    /// Requests since the frequencies were halved.
    sampled: u64,
}

impl WTinyLfu {
    pub(super) fn new(capacity_bytes: u64, keys: u32) -> WTinyLfu {
        let window_bytes_max = (capacity_bytes as f64 * WINDOW_SHARE) as u64;
        WTinyLfu {
            capacity_bytes,
            window_bytes_max,
            protected_bytes_max: ((capacity_bytes - window_bytes_max) as f64 * PROTECTED_SHARE) as u64,
            places: vec![Place::Nowhere; keys as usize],
            frequencies: vec![0; keys as usize],
            links: Links::new(keys),
            window: Queue::new(),
            probation: Queue::new(),
            protected: Queue::new(),
            items: 0,
            sampled: 0,
        }
    }

    fn main_bytes(&self) -> u64 {
        self.probation.bytes() + self.protected.bytes()
    }

    fn count(&mut self, key: u32) {
        let frequency = &mut self.frequencies[key as usize];
        *frequency = (*frequency + 1).min(FREQUENCY_MAX);
        self.sampled += 1;
        if self.sampled >= SAMPLE_FACTOR * self.items.max(1) && self.is_full() {
            self.frequencies.iter_mut().for_each(|frequency| *frequency /= 2);
            self.sampled = 0;
        }
    }

    /// Something had to go by now: what is there is what fits.
    fn is_full(&self) -> bool {
        self.main_bytes() + self.window.bytes() >= self.capacity_bytes / 2
    }

    fn hit(&mut self, key: u32) {
        match self.places[key as usize] {
            Place::Window => self.window.refresh(&mut self.links, key),
            Place::Protected => self.protected.refresh(&mut self.links, key),
            _ => {
                let bytes = self.links.bytes(key);
                self.probation.take(&mut self.links, key);
                self.protected.push(&mut self.links, key, bytes);
                self.places[key as usize] = Place::Protected;
            }
        }
        while self.protected.bytes() > self.protected_bytes_max {
            let Some(oldest) = self.protected.oldest() else { return };
            let bytes = self.links.bytes(oldest);
            self.protected.take(&mut self.links, oldest);
            self.probation.push(&mut self.links, oldest, bytes);
            self.places[oldest as usize] = Place::Probation;
        }
    }

    /// A key that left the window is let in if it beats, one by one, those that must go for it.
    fn admit(&mut self, key: u32, bytes: u32) {
        let room = self.capacity_bytes - self.window_bytes_max;
        if u64::from(bytes) > room {
            return;
        }
        while self.main_bytes() + u64::from(bytes) > room {
            let victim = self.probation.oldest().or(self.protected.oldest());
            let frequency = |key: u32| self.frequencies[key as usize];
            match victim {
                Some(victim) if frequency(key) > frequency(victim) => self.drop_from_main(victim),
                _ => return,
            }
        }
        self.probation.push(&mut self.links, key, bytes);
        self.places[key as usize] = Place::Probation;
        self.items += 1;
    }

    fn drop_from_main(&mut self, key: u32) {
        match self.places[key as usize] {
            Place::Protected => self.protected.take(&mut self.links, key),
            _ => self.probation.take(&mut self.links, key),
        }
        self.places[key as usize] = Place::Nowhere;
        self.items -= 1;
    }
}

impl Policy for WTinyLfu {
    fn request(&mut self, key: u32, bytes: u32) -> bool {
        self.count(key);
        if self.places[key as usize] != Place::Nowhere {
            self.hit(key);
            return true;
        }
        self.window.push(&mut self.links, key, bytes);
        self.places[key as usize] = Place::Window;
        self.items += 1;
        while self.window.bytes() > self.window_bytes_max {
            let Some(oldest) = self.window.oldest() else { break };
            let bytes = self.links.bytes(oldest);
            self.window.take(&mut self.links, oldest);
            self.places[oldest as usize] = Place::Nowhere;
            self.items -= 1;
            self.admit(oldest, bytes);
        }
        false
    }

    #[cfg(test)]
    fn held_bytes(&self) -> u64 {
        self.window.bytes() + self.main_bytes()
    }
}
