//! The shortest part of a stream that still shows a mismatch, found by halving.

/// Plays at most: each talks to two servers.
const PLAYS_MAX: usize = 150;

/// Shortens `items` while `fails` says that what is left still fails: first from the end, then from the middle.
///
/// # Errors
/// When a play fails.
pub(crate) fn shortest<T: Clone, E>(
    items: &[T],
    mut fails: impl FnMut(&[T]) -> Result<bool, E>,
) -> Result<Vec<T>, E> {
    let mut plays = 0;
    let mut kept = items[..prefix(items.len(), |count| {
        plays += 1;
        fails(&items[..count])
    })?]
        .to_vec();
    let mut size = kept.len() / 2;
    while size > 0 && plays < PLAYS_MAX {
        let mut at = 0;
        while at < kept.len() && plays < PLAYS_MAX {
            let mut fewer = kept.clone();
            fewer.drain(at..kept.len().min(at + size));
            plays += 1;
            if fails(&fewer)? {
                kept = fewer;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    Ok(kept)
}

/// The length of the shortest prefix that fails, given that all of it does.
fn prefix<E>(length: usize, mut fails: impl FnMut(usize) -> Result<bool, E>) -> Result<usize, E> {
    let (mut good, mut bad) = (0, length);
    while bad - good > 1 {
        let middle = good.midpoint(bad);
        if fails(middle)? {
            bad = middle;
        } else {
            good = middle;
        }
    }
    Ok(bad)
}

#[cfg(test)]
mod tests {
    use super::shortest;
    use std::convert::Infallible;

    #[test]
    fn only_what_is_needed_is_left() {
        let items: Vec<u32> = (0..1000).collect();
        let fails = |some: &[u32]| Ok::<_, Infallible>(some.contains(&17) && some.contains(&400));
        assert_eq!(shortest(&items, fails), Ok(vec![17, 400]));
    }

    #[test]
    fn what_fails_only_as_a_whole_stays_whole() {
        let items = [1, 2, 3];
        assert_eq!(shortest(&items, |some| Ok::<_, Infallible>(some.len() == 3)), Ok(items.to_vec()));
    }
}
