//! The documented names are those of the code, and spans and metrics are told as documented.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const PAGE: &str = include_str!("../src/observability.rs");

/// The Rust code below a directory, comments left out, but for the page itself.
fn code(directory: &Path) -> String {
    let mut text = String::new();
    for place in fs::read_dir(directory).expect("it is there") {
        let path = place.expect("it can be read").path();
        if path.is_dir() {
            text += &code(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let file = fs::read_to_string(&path).expect("it is text");
            file.lines().filter(|line| !line.trim_start().starts_with("//")).for_each(|line| text += line);
        }
    }
    text
}

/// All names in `text` that begin so, with what stands before each.
fn names(text: &str, before: &str, prefix: &str) -> BTreeSet<String> {
    let begin = format!("{before}{prefix}");
    let ends = |letter: char| !letter.is_ascii_lowercase() && letter != '_';
    let found = text.match_indices(&begin).map(|(at, _)| {
        let rest = &text[at + begin.len()..];
        format!("{prefix}{}", &rest[..rest.find(ends).unwrap_or(rest.len())])
    });
    found.collect()
}

fn source(package: &str) -> String {
    code(&Path::new(env!("CARGO_MANIFEST_DIR")).join(package))
}

#[test]
fn page_has_each_metric_of_the_code_and_no_other() {
    for (package, prefix) in [("src", "evanesce_client_"), ("transport/src", "evanesce_transport_")] {
        let code = names(&source(package), "\"", prefix);
        assert!(code.len() > 2, "the test looks at the wrong thing: {code:?}");
        assert_eq!(names(PAGE, "`", prefix), code);
    }
}

#[test]
fn page_has_each_span_of_the_code_and_no_other() {
    let code = names(&source("src"), "\"", "evanesce_client.");
    assert!(code.len() > 3, "the test looks at the wrong thing: {code:?}");
    assert_eq!(names(PAGE, "`", "evanesce_client."), code);
}
