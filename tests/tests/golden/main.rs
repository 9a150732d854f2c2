//! What the newest memcached was recorded to answer to meta commands, a node answers, byte for byte.
//!
//! Needs no memcached: `tests/conformance/record` wrote the transcripts. What differs on purpose is listed in
//! `evanesce_tests::golden::DIFFERENCES`.

use std::time::Duration;

use evanesce_node::{Node, NodeConfig};
use evanesce_tests::golden::{DIFFERENCES, File, differences};

/// How long the node may take to end.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// Fewer cases than this, and some file was not found.
const CASES_MIN: usize = 150;

fn files() -> Vec<File> {
    let home = concat!(env!("CARGO_MANIFEST_DIR"), "/conformance/golden");
    let read = |entry: Result<std::fs::DirEntry, _>| {
        let path = entry.expect("the directory can be read").path();
        let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        File::parse(&name, &std::fs::read_to_string(&path).expect("it can be read")).expect("it parses")
    };
    let files: Vec<File> = std::fs::read_dir(home).expect("transcripts are there").map(read).collect();
    assert!(files.iter().map(|file| file.cases().len()).sum::<usize>() >= CASES_MIN);
    files
}

#[tokio::test]
async fn node_answers_as_the_recorded_memcached() {
    let node = Node::start(NodeConfig::default()).await.expect("a node starts");
    let address = node.memcached_addr();
    let wrong = tokio::task::spawn_blocking(move || {
        files()
            .iter()
            .flat_map(|file| differences(address, file).expect("the node answers"))
            .collect::<Vec<_>>()
    });
    let wrong = wrong.await.expect("no panic");
    node.drain(DRAIN_LIMIT).await;
    assert!(wrong.is_empty(), "{} steps differ\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn contract_states_every_difference_and_each_is_of_a_step() {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let contract = words(include_str!("../../../proto/PROTOCOL.md"));
    let files = files();
    for difference in DIFFERENCES {
        assert!(contract.contains(&words(difference.stated)), "not stated: {}", difference.stated);
        assert!(!difference.reason.is_empty() && !difference.places.is_empty());
        for place in difference.places {
            let cases = files.iter().filter(|file| file.name == place.file).flat_map(File::cases);
            let found =
                cases.filter(|case| case.name == place.case).any(|case| place.step < case.steps.len());
            assert!(found, "no step {place:?}");
        }
    }
}
