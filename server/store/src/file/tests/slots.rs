//! A table with a damaged slot, whose items are whole: found out before the slot does harm, nothing is lost, and nothing that
//! was deleted meanwhile comes back.

use super::*;

/// Keys, some pages full.
const ITEMS: u64 = 3_000;
/// When the store is opened again: a new process stamps later than the one before, as clocks go on.
const LATER: Time = Time(NOW.0 + 1_000);
/// Other items that are written first, at most: more than the memory holds.
const FILLERS_MAX: usize = 400;
/// Every so-many-th slot is damaged, one at a time.
const STEP: usize = 211;

fn place(path: &Path) -> StoreConfig {
    StoreConfig { memory_file: Some(path.to_owned()), ..config(path, 1 << 20) }
}

fn value(n: u64) -> Vec<u8> {
    n.to_le_bytes().repeat(4)
}

/// Where slots in use lie in the file.
fn slots(path: &Path, bytes: &[u8]) -> Vec<usize> {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let geometry = Fixed::read(&bytes[..4096]).unwrap().geometry;
    let cells = memmap2::MmapOptions::new().len(geometry.ledger_bytes()).map_raw(&file).unwrap();
    let ledger = Ledger::new(Cells::new(cells), geometry, file);
    let slabs = (0..geometry.segments as u32).filter(|number| ledger.slab(*number).is_some());
    // Labels, and what is unused, lie in the last quarter of so small a slab.
    let part = geometry.segment_bytes / 4 * 3;
    let starts = slabs.map(|number| geometry.ledger_bytes() + number as usize * geometry.segment_bytes);
    let cells = starts.flat_map(|start| (start..start + part).step_by(8));
    // A slot in use has a tag before its place; what tells of ghosts has none.
    cells.filter(|at| bytes[*at + 5..*at + 8] != [0; 3]).collect()
}

/// Opens a copy with one slot changed; answers how often the store mended itself, all keys having been looked for after so many
/// steps of the check, or after all of it.
fn mended_with(path: &Path, whole: &[u8], (at, slot): (usize, [u8; 8]), reads_after: Option<usize>) -> u64 {
    let mut bytes = whole.to_owned();
    bytes[at..at + 8].copy_from_slice(&slot);
    std::fs::write(path, bytes).unwrap();
    let store = Store::new(place(path)).unwrap();
    assert_eq!(
        (warm(&store).shards_read, warm(&store).items),
        (0, ITEMS),
        "the labels and the ledger are whole: slot at {at} is {slot:x?}, was {:x?}",
        &whole[at..at + 8]
    );
    let right = |n: &u64| {
        let there = get(&store, &key(*n), NOW);
        assert!(there.is_none() || there == Some(value(*n)), "{} holds {there:?}", key(*n));
        there.is_some()
    };
    let mut gone = Vec::new();
    if let Some(steps) = reads_after {
        (0..steps).for_each(|_| _ = store.check(LATER, 1));
        gone.extend((0..ITEMS).filter(|n| !right(n)));
        assert!(gone.len() <= 1, "slot at {at} hides {gone:?}");
        (0..ITEMS).step_by(7).filter(|n| !gone.contains(n)).for_each(|n| {
            store.write(&Write::set(key(n).as_bytes(), &value(n)), LATER);
        });
        gone.iter().for_each(|n| {
            store.delete(&Delete::key(key(*n).as_bytes()), LATER);
        });
    }
    let checked = store.check(LATER, usize::MAX);
    let (there, left) = ((0..ITEMS).filter(right).count() as u64, ITEMS - gone.len() as u64);
    assert_eq!((checked.all, there, store.stats().items), (true, left, left), "slot at {at}");
    assert!(gone.iter().all(|n| !right(n)), "what was deleted came back: slot at {at}");
    checked.mended
}

#[test]
fn damaged_slot_is_found_and_costs_no_item() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memory");
    let store = Store::new(place(&path)).unwrap();
    for n in 0..ITEMS {
        store.write(&Write::set(key(n).as_bytes(), &value(n)), NOW);
    }
    drop(store);
    let whole = std::fs::read(&path).unwrap();
    let slots = slots(&path, &whole);
    assert!(slots.len() as u64 >= ITEMS);
    let (mut tried, mut mended) = (0_usize, 0);
    let before = Store::new(place(&path)).unwrap();
    let steps_max = (0..).find(|_| before.check(NOW, 1).all).unwrap();
    drop(before);
    for (turn, at) in slots.iter().copied().step_by(STEP).enumerate() {
        let slot = |at: usize| u64::from_le_bytes(*whole[at..].first_chunk().unwrap());
        let tag = slot(at) >> 40 << 40;
        let other = slot(slots[(turn * 97 + 13) % slots.len()]) & ((1 << 40) - 1);
        // It is gone; names another's item; names nothing; names the middle of an item.
        for damaged in [0, tag | other, tag | 0xff_ffff_ffff, slot(at).wrapping_add(1)] {
            tried += 1;
            // At its beginning, before any page was looked through, as well as near its end.
            let reads_after = (tried % 3 > 0).then_some(turn * tried % steps_max);
            mended += usize::from(mended_with(&path, &whole, (at, damaged.to_le_bytes()), reads_after) > 0);
        }
    }
    // A chunk that is free holds what it held before.
    assert!(mended * 10 >= tried * 9, "{mended} of {tried}");
}

/// A write that needs room may be what has a shard mended. The item that its table had hidden, of the same key, is replaced,
/// not kept beside.
#[test]
fn write_that_finds_the_damage_replaces_what_was_hidden() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memory");
    let store = Store::new(place(&path)).unwrap();
    for n in 0..ITEMS {
        store.write(&Write::set(key(n).as_bytes(), &value(n)), NOW);
    }
    drop(store);
    let whole = std::fs::read(&path).unwrap();
    let open = |slot: usize| {
        let mut bytes = whole.clone();
        bytes[slot..slot + 8].copy_from_slice(&[0; 8]);
        std::fs::write(&path, bytes).unwrap();
        Store::new(place(&path)).unwrap()
    };
    // A slot that is missed in the end only: its page is in order without it.
    let hidden = slots(&path, &whole).into_iter().find_map(|slot| {
        let store = open(slot);
        Some((slot, (0..ITEMS).map(key).find(|key| get(&store, key, NOW).is_none())?))
    });
    let (slot, hidden) = hidden.unwrap();
    for before in 0..FILLERS_MAX {
        let store = open(slot);
        (0..before).for_each(|n| {
            store.write(&Write::set(format!("filler-{n}").as_bytes(), &[7; 3_000]), LATER);
        });
        let mended = store.check(LATER, 0).mended;
        store.write(&Write::set(hidden.as_bytes(), &[8; 3_000]), LATER);
        let found_out = store.check(LATER, 0).mended > mended;
        assert_eq!(get(&store, &hidden, LATER), Some(vec![8; 3_000]), "after {before} others");
        store.delete(&Delete::key(hidden.as_bytes()), LATER);
        assert_eq!(get(&store, &hidden, LATER), None, "after {before} others");
        if found_out {
            return;
        }
    }
    panic!("no write of the hidden key had the shard mended");
}
