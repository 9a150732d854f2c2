//! What a part found.

pub(crate) use evanesce_tests::Verdict;
