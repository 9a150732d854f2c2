//! What errors say.

use super::*;

fn unanswered(nodes: usize) -> ReadError {
    let attempt = |node| Attempt {
        zone: "a".into(),
        node: format!("n{node}"),
        cause: NodeError::Overloaded,
        detail: Arc::default(),
    };
    ReadError::Unanswered { attempts: (1..=nodes).map(attempt).collect() }
}

#[test]
fn error_of_a_few_nodes_tells_of_all() {
    let told = unanswered(3).to_string();
    assert!(["n1", "n2", "n3"].iter().all(|node| told.contains(node)) && !told.contains("more"), "{told}");
}

#[test]
fn error_of_many_nodes_stays_a_line_and_keeps_them_all() {
    let error = unanswered(100);
    let told = error.to_string();
    assert!(told.ends_with("; and 97 more") && !told.contains("n4"), "{told}");
    assert!(told.len() < 500, "{told}");
    assert!(matches!(error, ReadError::Unanswered { attempts } if attempts.len() == 100));
}

#[test]
fn error_without_an_attempt_says_so() {
    assert_eq!(unanswered(0).to_string(), "no zone answered: no node told why");
}
