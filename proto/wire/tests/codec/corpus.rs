//! What fuzzing has reached so far, without a fuzzer: the decoders do not care how the bytes are split.

use std::path::Path;

use evanesce_wire::{Expect, Limits, binary};

use crate::trace::{replies_split, requests_split};

/// The limits of the fuzz targets.
const LIMITS: Limits = Limits { value_bytes_max: 32, line_bytes_max: 2500 };

/// The inputs kept for a target.
fn inputs(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&directory).expect("the corpus is beside the fuzz targets");
    let read = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read(entry?.path());
    let inputs: Vec<_> = entries
        .map(|entry| read(entry).expect("a kept input is a file"))
        .filter(|input| input.len() > 1)
        .collect();
    assert!(inputs.len() > 20, "{} inputs in {}", inputs.len(), directory.display());
    inputs
}

fn check_requests(input: &[u8], chunk: u8) {
    let whole = requests_split(input, LIMITS, &[]);
    assert_eq!(requests_split(input, LIMITS, &[usize::from(chunk).max(1)]), whole, "{input:?}");
    assert_eq!(requests_split(input, LIMITS, &[1]), whole, "{input:?}");
}

#[test]
fn kept_requests_in_text_are_read_the_same_however_they_come() {
    for input in inputs("request_text") {
        if input[1] != binary::REQUEST_MAGIC {
            check_requests(&input[1..], input[0]);
        }
    }
}

#[test]
fn kept_binary_requests_are_read_the_same_however_they_come() {
    for input in inputs("request_binary") {
        check_requests(&[&[binary::REQUEST_MAGIC], &input[1..]].concat(), input[0]);
    }
}

#[test]
fn kept_replies_are_read_the_same_however_they_come() {
    for input in inputs("reply_text") {
        let [kind, chunk, replies @ ..] = &input[..] else { continue };
        let kinds = [Expect::Retrieval, Expect::Stats, Expect::Line, Expect::Meta];
        let expect = [kinds[usize::from(kind % 4)]];
        let whole = replies_split(replies, &expect, &[]);
        assert_eq!(replies_split(replies, &expect, &[usize::from(*chunk).max(1)]), whole, "{input:?}");
        assert_eq!(replies_split(replies, &expect, &[1]), whole, "{input:?}");
    }
}
