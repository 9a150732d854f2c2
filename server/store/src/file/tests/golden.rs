//! A memory file as this format has it, kept in the repository: whoever changes the format without meaning to sees it here.

use std::fmt::Write as _;

use super::*;

/// Where it is kept: offset and bytes of all that is not 0, in hexadecimal.
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/memory-2.txt");
/// Set, it is written anew before it is read.
const WRITE: &str = "EVANESCE_WRITE_GOLDEN";
/// Bytes of a line.
const LINE_BYTES: usize = 32;

fn small(path: &Path) -> StoreConfig {
    let named = |name: &str| NamespaceConfig { name: name.to_owned(), ..NamespaceConfig::default() };
    StoreConfig {
        shards: NonZeroUsize::new(1).unwrap(),
        item_bytes_max: 8 << 10,
        namespaces: vec![named("user"), named("gone")],
        hash_seed: Some(7),
        ..config(path, 128 << 10)
    }
}

/// What the file holds, in the order in which it was written.
fn fill(store: &Store) {
    for n in 0..40 {
        let expiry = if n % 8 == 1 { Expiry::At(Time(NOW.0 + 5_000 * n)) } else { Expiry::Never };
        let (key, value) = (key(n), format!("{n} ").repeat(n as usize));
        let write = Write { expiry, flags: n as u32 % 3, ..Write::set(key.as_bytes(), value.as_bytes()) };
        store.write(&write, Time(NOW.0 + n));
    }
    store.write(&Write::set(b"large", "piece by piece ".repeat(300).as_bytes()), NOW);
    store.write(&Write::set(b"gone:1", b"flushed"), NOW);
    store.flush_namespace("gone", NOW);
    let version = Some(Version::at(Time(NOW.0 + 70), 3));
    store.delete(&Delete { version, ..Delete::key(b"key7") }, Time(NOW.0 + 70));
    store.note_ran(Time(NOW.0 + 10_000));
}

/// For a new format.
fn write_golden() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memory");
    fill(&Store::new(small(&path)).unwrap());
    let mut text = String::new();
    for (at, line) in std::fs::read(&path).unwrap().chunks(LINE_BYTES).enumerate() {
        if line.iter().any(|byte| *byte != 0) {
            write!(text, "{:06x} ", at * LINE_BYTES).unwrap();
            line.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
            text.push('\n');
        }
    }
    std::fs::write(GOLDEN, text).unwrap();
}

/// Writes the golden file to `path`, as of this start of the system.
fn lay_out(path: &Path) {
    let file =
        std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path).unwrap();
    for line in std::fs::read_to_string(GOLDEN).unwrap().lines() {
        let (at, bytes) = line.split_once(' ').unwrap();
        let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
        let bytes: Vec<u8> = bytes.as_bytes().chunks(2).map(byte).collect();
        file.write_all_at(&bytes, u64::from_str_radix(at, 16).unwrap()).unwrap();
    }
    let mut header = [0; 4096];
    file.read_exact_at(&mut header, 0).unwrap();
    let fixed = Fixed { boot: boot(), ..Fixed::read(&header).unwrap() };
    file.set_len(fixed.geometry.file_bytes() as u64).unwrap();
    let cells = memmap2::MmapOptions::new().len(fixed.geometry.ledger_bytes()).map_raw(&file).unwrap();
    fixed.write(Ledger::new(Cells::new(cells), fixed.geometry, file).header());
}

fn assert_golden(store: &Store) {
    let now = Time(NOW.0 + 20_000);
    for n in 0..40 {
        let is_there = n != 7 && !(n % 8 == 1 && n < 5);
        let value = format!("{n} ").repeat(n as usize).into_bytes();
        assert_eq!(get(store, &key(n), now), is_there.then_some(value), "{}", key(n));
    }
    assert_eq!(get(store, "large", now), Some("piece by piece ".repeat(300).into_bytes()));
    assert_eq!(get(store, "gone:1", now), None);
    let old = Write { version: Some(Version::at(Time(NOW.0 + 60), 0)), ..Write::set(b"key7", b"old") };
    assert!(matches!(store.write(&old, now), WriteOutcome::Superseded { .. }));
}

#[test]
fn golden_file_is_read_with_its_table_and_without() {
    if std::env::var_os(WRITE).is_some() {
        write_golden();
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memory");
    lay_out(&path);
    let store = Store::new(small(&path)).unwrap();
    assert_eq!((warm(&store).shards_read, warm(&store).damaged), (0, 0));
    assert_golden(&store);
    drop(store);
    lay_out(&path);
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    // The first shard was at work.
    file.write_all_at(&[1], 4096 + 6 * 8).unwrap();
    drop(file);
    let store = Store::new(small(&path)).unwrap();
    assert_eq!((warm(&store).shards_read, warm(&store).damaged), (1, 0));
    assert_golden(&store);
    assert_eq!(store.check(NOW, usize::MAX).mended, 0);
}
