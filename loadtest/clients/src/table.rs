//! What was measured, for people: Markdown.

use crate::compare::Taken;

/// What a name ends in when one caller asks for many keys at once: to be compared with our batches.
const BATCH: &str = "-batch";
/// What a name ends in when callers share connections.
const SHARED: &str = "-shared";
/// What our own names begin with.
const OURS: &str = "evanesce";

/// Prints a table: medians, and medians of the ratios of windows that were neighbours.
pub(crate) fn print(taken: &[Taken], callers: usize, value_bytes: usize) {
    println!("\n## {callers} callers, values of {value_bytes} bytes\n");
    println!("| client | way | CPU us/GET | min..max | ours / theirs | min..max |");
    println!("|---|---|---:|---:|---:|---:|");
    for theirs in taken {
        let (low, high) = ends(&theirs.micros);
        let cost = format!("{:.2} | {low:.2}..{high:.2}", median(&theirs.micros));
        let ratio = match taken.iter().find(|ours| is_ours_for(&ours.name, &theirs.name)) {
            Some(ours) => {
                let ratios = ratios(ours, theirs);
                let (low, high) = ends(&ratios);
                format!("{:.2} | {low:.2}..{high:.2}", median(&ratios))
            }
            None => " | ".to_owned(),
        };
        println!("| {} | {} | {cost} | {ratio} |", theirs.name, way(&theirs.name, callers));
    }
}

fn way(name: &str, callers: usize) -> String {
    if name.ends_with(BATCH) {
        format!("1 caller, batches of {callers}")
    } else if name == OURS || name.ends_with(SHARED) {
        format!("{callers} callers share it")
    } else {
        format!("{callers} callers, {callers} connections")
    }
}

/// Which of ours another client is compared with.
fn is_ours_for(ours: &str, theirs: &str) -> bool {
    let ours_batches = ours.ends_with(BATCH);
    ours.starts_with(OURS) && !theirs.starts_with(OURS) && ours_batches == theirs.ends_with(BATCH)
}

fn ratios(ours: &Taken, theirs: &Taken) -> Vec<f64> {
    ours.micros.iter().zip(&theirs.micros).map(|(ours, theirs)| ours / theirs).collect()
}

fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[length / 2],
        length => (sorted[length / 2 - 1] + sorted[length / 2]) / 2.0,
    }
}

fn ends(numbers: &[f64]) -> (f64, f64) {
    let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    (low, numbers.iter().copied().fold(0.0, f64::max))
}

#[cfg(test)]
mod tests {
    use super::{is_ours_for, median};

    #[test]
    fn batches_are_compared_with_batches() {
        assert!(is_ours_for("evanesce", "memcache-async"));
        assert!(is_ours_for("evanesce-batch", "libmemcached-batch"));
        assert!(!is_ours_for("evanesce", "libmemcached-batch"));
        assert!(!is_ours_for("evanesce", "evanesce-batch"));
    }

    #[test]
    fn median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
