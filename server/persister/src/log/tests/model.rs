//! What waits before an end is what waits after a start, whatever came before.

use std::collections::BTreeMap;

use super::*;

const KEYS: u64 = 40;
const STEPS: usize = 1_000;
/// So that a run goes over several segments, some of which are deleted, and others moved from.
const VALUE_BYTES: usize = 20_000;

/// The same for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn key(&mut self) -> Bytes {
        format!("k{}", self.below(KEYS)).into()
    }
}

/// Of each key that waits its version, and why it is a dead letter.
fn state_of(log: &Log) -> BTreeMap<Bytes, (u64, Option<String>)> {
    let index = log.shared.index.lock();
    let keys = (0..KEYS).map(|n| Bytes::from(format!("k{n}")));
    keys.filter_map(|key| {
        let pending = index.get(&key)?;
        Some((key.clone(), (pending.version, pending.dead.clone())))
    })
    .collect()
}

/// Writes, some of them late, and what stores and operators do of them.
async fn play(log: &Log, chance: &mut Chance, version: &mut u64) {
    let value = Bytes::from(vec![b'v'; VALUE_BYTES]);
    let mut on_their_way: Vec<Taken> = Vec::new();
    for _ in 0..STEPS {
        match chance.below(12) {
            0..5 => {
                *version += 1;
                let late = if chance.below(4) == 0 { chance.below(40) } else { 0 };
                let change =
                    KeyChange { key: chance.key(), ..put("", version.saturating_sub(late), value.clone()) };
                // It may be full.
                let _ = log.append(change, None).await;
            }
            5..7 => on_their_way.extend(log.take(3, u64::MAX)),
            7..10 if !on_their_way.is_empty() => {
                let at = chance.below(on_their_way.len() as u64) as usize;
                let KeyChange { key, version, .. } = on_their_way.swap_remove(at).change;
                match chance.below(4) {
                    0 => log.bury(&key, version, "no"),
                    1 => log.retry_at(&key, version, Instant::now()),
                    _ => log.done(&key, version),
                }
            }
            10 => _ = log.revive(&chance.key()),
            _ => _ = log.drop_dead(&[chance.key()]).await.expect("the log takes it"),
        }
    }
    on_their_way.iter().for_each(|taken| log.release(&taken.change.key));
}

/// What was seen: a write that came after a newer one of its key was done waited, and was gone after a restart.
#[tokio::test]
async fn what_waits_waits_again_after_a_start_whatever_came_before() {
    for seed in 0..3 {
        let directory = tempfile::tempdir().expect("a directory");
        let options = LogConfig { flush: FlushPolicy::Every(Duration::from_secs(3_600)), ..options(4 << 20) };
        let (mut chance, mut version) = (Chance(seed), 1_000);
        let mut before = BTreeMap::new();
        for _ in 0..3 {
            let (log, damages) = Log::open(directory.path(), options).expect("it opens");
            assert_eq!((damages, state_of(&log)), (vec![], before), "seed {seed}");
            play(&log, &mut chance, &mut version).await;
            log.close().await;
            before = state_of(&log);
        }
    }
}
