//! Flushes: everything older than a version is gone, whenever its memory is looked at.

use crate::{Time, Version};

/// Watermarks of the namespaces, and flushes that wait for their time. A flush costs the same whatever it flushes.
#[derive(Debug)]
pub(crate) struct Flushes {
    namespaces: Vec<Flush>,
    /// The earliest time at which one is due, in milliseconds.
    next_ms: u64,
    /// The latest of all watermarks.
    watermark_max: Version,
}

/// One namespace's flush.
#[derive(Debug, Clone, Copy, Default)]
struct Flush {
    /// Items before this version are gone.
    watermark: Version,
    /// When the next flush is due.
    pending: Option<Time>,
}

impl Flushes {
    pub(crate) fn new(namespaces: usize) -> Flushes {
        Flushes {
            namespaces: vec![Flush::default(); namespaces],
            next_ms: u64::MAX,
            watermark_max: Version::default(),
        }
    }

    /// What a memory file holds of a namespace's flush.
    pub(crate) fn restore(&mut self, namespace: usize, watermark: Version, pending: Option<Time>) {
        self.namespaces[namespace] = Flush { watermark, pending };
        self.watermark_max = self.watermark_max.max(watermark);
        self.look_ahead();
    }

    /// Every namespace's watermark, and when its next flush is due.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Version, Option<Time>)> {
        self.namespaces.iter().map(|flush| (flush.watermark, flush.pending))
    }

    /// From `at` on everything written before is gone, in one namespace or in all. Replaces one that waits.
    pub(crate) fn add(&mut self, namespace: Option<usize>, at: Time) {
        match namespace {
            Some(namespace) => self.namespaces[namespace].pending = Some(at),
            None => self.namespaces.iter_mut().for_each(|flush| flush.pending = Some(at)),
        }
        self.look_ahead();
    }

    /// A flush's time has come.
    pub(crate) fn is_due(&self, latest: Time) -> bool {
        self.next_ms <= latest.0
    }

    /// Carries out what is due. `watermark` tells, for the time from which on a flush holds, a version later than every
    /// one stored: what was written since may have been stamped before anybody looked.
    pub(crate) fn carry_out(&mut self, latest: Time, mut watermark: impl FnMut(Time) -> Version) {
        for flush in &mut self.namespaces {
            if let Some(at) = flush.pending.filter(|at| *at <= latest) {
                *flush = Flush { watermark: watermark(at), pending: None };
            }
        }
        let watermarks = || self.namespaces.iter().map(|flush| flush.watermark);
        self.watermark_max = watermarks().max().unwrap_or_default();
        self.look_ahead();
    }

    /// Some namespace's items of this version are gone.
    pub(crate) fn may_cover(&self, version: Version) -> bool {
        version < self.watermark_max
    }

    /// The latest watermark.
    pub(crate) fn latest(&self) -> Version {
        self.watermark_max
    }

    /// A namespace's items before this version are gone.
    pub(crate) fn watermark(&self, namespace: usize) -> Version {
        self.namespaces[namespace].watermark
    }

    fn look_ahead(&mut self) {
        let pending = self.namespaces.iter().filter_map(|flush| flush.pending).min();
        self.next_ms = pending.map_or(u64::MAX, |at| at.0);
    }
}

#[cfg(test)]
mod tests {
    use super::Flushes;
    use crate::{Time, Version};

    #[test]
    fn flush_covers_its_namespace_from_its_time_on() {
        let mut flushes = Flushes::new(2);
        flushes.add(Some(1), Time(100));
        assert!(!flushes.is_due(Time(99)) && flushes.is_due(Time(100)));
        flushes.carry_out(Time(120), |at| Version(at.0 / 10 - 3));
        assert_eq!((flushes.watermark(0), flushes.watermark(1)), (Version(0), Version(7)));
        assert!(flushes.may_cover(Version(6)) && !flushes.may_cover(Version(7)));
        assert!(flushes.latest() == Version(7) && !flushes.is_due(Time(u64::MAX - 1)));
        flushes.add(None, Time(200));
        flushes.carry_out(Time(200), |_| Version(9));
        assert!(flushes.watermark(0) == Version(9) && !flushes.may_cover(Version(9)));
    }
}
