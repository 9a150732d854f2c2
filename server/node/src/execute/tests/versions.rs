//! Versions on the wire: what a write that carries one is answered, and that replicas agree.

use std::sync::atomic::Ordering;

use evanesce_store::{Time, Version};

use super::Bench;

/// Versions count from 2025 on.
const START: Time = Time(1_800_000_000_250);

fn bench() -> Bench {
    Bench { now: START, ..Bench::new() }
}

/// A version of so many milliseconds after the start.
fn version(ms: u64) -> u64 {
    Version::at(Time(START.0 + ms), 9).0
}

#[test]
fn newer_write_wins_and_the_older_is_told_by_what() {
    let bench = bench();
    let (first, second, third) = (version(1), version(2), version(3));
    assert_eq!(bench.text(&format!("ms a 3 V{second} F7 O1\nnew\n")), format!("HD V{second} O1\n"));
    assert_eq!(bench.text(&format!("ms a 3 O2 V{first} k\nold\n")), format!("NS O2 V{second} ka\n"));
    assert_eq!(bench.text(&format!("ms a 3 V{first} q\nold\n")), format!("NS V{second}\n"));
    assert_eq!(bench.text("mg a v f V\n"), format!("VA 3 f7 V{second}\nnew\n"));
    assert!(bench.text("me a V\n").ends_with(&format!(" version={second}\n")));
    assert!(!bench.text("me a\n").contains("version"));
    assert_eq!(bench.text(&format!("md a V{first}\nmd a V{third} q\n")), format!("NS V{second}\n"));
    assert_eq!(bench.text(&format!("ms a 3 V{second}\nold\nmg a V\n")), format!("NS V{third}\nEN\n"));
    assert_eq!(bench.stat("evanesce_superseded"), 4);
}

#[test]
fn item_that_expires_tells_in_which_second_with_its_version() {
    let bench = bench();
    let first = version(1);
    bench.text(&format!("ms a 1 V{first} T1800000009\nx\nms b 1 T5\nx\nms c 1 V{first}\nx\n"));
    assert_eq!(bench.text("mg a t V\n"), format!("HD t9 V{first} U1800000009\n"));
    assert!(bench.text("mg b t V\n").ends_with(" U1800000005\n"), "a copy lives no longer");
    assert_eq!(bench.text("mg c t V\n"), format!("HD t-1 V{first}\n"));
}

#[test]
fn delete_of_what_is_not_there_keeps_older_writes_away() {
    let bench = bench();
    let (first, second) = (version(1), version(2));
    assert_eq!(bench.text(&format!("md a V{second}\n")), "NF\n");
    assert_eq!(bench.text(&format!("ms a 1 V{first} r\nx\n")), format!("NS V{second}\n"));
    assert_eq!(
        bench.text(&format!("ms a 1 V{} r\nx\nmg a v\n", version(3))),
        format!("HD V{}\nVA 1\nx\n", version(3))
    );
}

#[test]
fn version_far_ahead_is_refused_with_the_clock_and_one_just_ahead_is_not() {
    let bench = bench();
    let (near, far) = (version(5_000), version(5_001));
    assert_eq!(bench.text(&format!("ms a 1 V{far} O7\nx\n")), format!("NS K{} O7\n", START.0));
    assert_eq!(bench.text(&format!("md a q V{far}\n")), format!("NS K{}\n", START.0));
    assert_eq!(bench.text(&format!("ms a 1 V{} \nx\nmg a\n", u64::MAX)), format!("NS K{}\nEN\n", START.0));
    assert_eq!(bench.text(&format!("ms a 1 V{near}\nx\n")), format!("HD V{near}\n"));
    assert_eq!(bench.stat("evanesce_clock_refused"), 3);
    assert_eq!(bench.text("mn V\nmn\n"), format!("MN V K{}\nMN\n", START.0));
}

#[test]
fn plain_write_is_stamped_later_than_what_is_there_and_tells_its_version_when_asked() {
    let bench = bench();
    let ahead = version(4_000);
    bench.text(&format!("ms a 1 V{ahead}\nx\n"));
    let reply = bench.text("ms a 1 V\ny\n");
    let stamped: u64 = reply.trim().strip_prefix("HD V").unwrap().parse().unwrap();
    assert!(stamped > ahead);
    assert_eq!(bench.text("mg a v V\n"), format!("VA 1 V{stamped}\ny\n"));
    let reply = bench.text("ma n N0 J5 V\n");
    let counted: u64 = reply.trim().strip_prefix("HD V").unwrap().parse().unwrap();
    assert_eq!(bench.text("mg n v V\n"), format!("VA 1 V{counted}\n5\n"));
    assert_eq!(
        bench.text("ms a 1 Vx\ny\nms a 1 V1 V2\ny\n"),
        "CLIENT_ERROR bad token in command line format\nCLIENT_ERROR duplicate flag\n"
    );
}

#[test]
fn conditions_are_told_apart_from_versions() {
    let bench = bench();
    bench.text(&format!("ms a 1 V{}\nx\n", version(1)));
    assert_eq!(bench.text(&format!("ms a 1 ME V{}\ny\n", version(2))), "NS\n");
    assert_eq!(bench.text(&format!("ms a 1 C1 V{}\ny\n", version(2))), "EX\n");
    assert_eq!(bench.text(&format!("ms b 1 C1 V{}\ny\n", version(2))), "NF\n");
}

#[test]
fn value_too_large_drops_what_is_older_than_its_version() {
    let bench = bench();
    let (first, second, third) = (version(1), version(2), version(3));
    let large = |version: u64| {
        [format!("ms a 2000000 V{version}\r\n").as_bytes(), &[b'v'; 2_000_000], b"\r\n"].concat()
    };
    bench.text(&format!("ms a 1 V{second}\nx\n"));
    for (version, there) in [(first, true), (version(60_000), true), (third, false)] {
        assert_eq!(bench.send(&large(version)), b"SERVER_ERROR object too large for cache\r\n");
        assert_eq!(bench.text("mg a\n"), if there { "HD\n" } else { "EN\n" });
    }
}

/// Numbers that look random, the same for a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[test]
fn two_nodes_that_hear_the_same_in_any_order_agree() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let mut said: Vec<String> = (0..40)
            .map(|_| {
                let (key, version) = (random.below(5), version(random.below(20)));
                match random.below(4) {
                    0 => format!("md k{key} V{version}\n"),
                    value => format!("ms k{key} 1 T{} F{value} V{version}\n{value}\n", 60 + value),
                }
            })
            .collect();
        let nodes = [bench(), bench()];
        for node in &nodes {
            said.iter().for_each(|request| _ = node.text(request));
            for index in (1..said.len()).rev() {
                said.swap(index, random.below(index as u64 + 1) as usize);
            }
        }
        for key in 0..5 {
            let [one, other] = nodes.each_ref().map(|node| node.text(&format!("mg k{key} v f t V\n")));
            assert_eq!(one, other, "seed {seed}, key k{key}");
        }
    }
}

/// Of a decision by the zone in this place.
fn decided(ms: u64, rank: u64) -> u64 {
    version(ms) >> 12 << 12 | rank << 1 | 1
}

#[test]
fn decision_is_next_to_what_it_changes_whatever_the_time() {
    let bench = bench();
    let (first, early) = (decided(2, 0), decided(2, 0) - (100 << 12));
    assert_eq!(bench.text(&format!("ms a 1 ME V H{first} O1\n5\n")), format!("HD V{first} O1\n"));
    let counted = bench.text(&format!("ma a v V H{early}\n"));
    let next = Version(first + (1 << 12)).0;
    assert_eq!(counted, format!("VA 1 V{next}\n6\n"), "later than what was decided here last, and no more");
    let joined = bench.text(&format!("ms a 1 MA V H{early}\n1\nmg a v\n"));
    assert_eq!(joined, format!("HD V{}\nVA 2\n61\n", next + (1 << 12)));
    let late = decided(3, 0);
    assert_eq!(bench.text(&format!("ma a v V H{late}\n")), format!("VA 2 V{late}\n62\n"));
    assert_eq!(bench.text(&format!("ma a V H{}\n", decided(5_001, 0))), format!("NS K{}\n", START.0));
    assert_eq!(bench.text(&format!("ma a v V H{early}\n")), "NS H0\n", "others promised much less");
}

/// What was seen in review: of a delete that one zone knew nobody was told who asked for promises, and what others had still was
/// counted on, later than the delete.
#[test]
fn promise_tells_of_a_delete_and_is_later() {
    let bench = bench();
    let deleted = version(5) & !1;
    bench.text(&format!("md a V{deleted}\n"));
    assert_eq!(bench.text(&format!("mg a V H{}\n", decided(4, 0))), format!("HD D{deleted} H{deleted}\n"));
    let later = decided(6, 0);
    assert_eq!(bench.text(&format!("mg a H{later}\n")), format!("HD H{later}\n"), "it was not asked for");
    assert_eq!(bench.text(&format!("mg a V H{later}\n")), format!("HD D{deleted} H{later}\n"));
    assert_eq!(bench.text(&format!("ms a 1 ME V H{later}\n1\n")), format!("HD V{later}\n"));
    assert_eq!(bench.text(&format!("mg a V H{later}\n")), format!("HD V{later} H{later}\n"));
}

/// What was seen in review: a zone that had promised a place something long ago was counted for a decision much later than that,
/// and then promised another something in between.
#[test]
fn place_that_insists_is_promised_more_than_before() {
    let bench = bench();
    let (before, between, after) = (decided(5, 0), decided(7, 1), decided(9, 0));
    let ask = |version: u64, insists: &str| bench.text(&format!("mg a V H{version}{insists} O7\n"));
    assert_eq!(ask(before, ""), format!("HD H{before} O7\n"));
    assert_eq!(ask(after, ""), format!("HD H{before} O7\n"));
    assert_eq!(ask(after, " r"), format!("HD H{after} O7\n"));
    assert_eq!(ask(between, ""), format!("HD H{after} O7\n"), "nobody else is, in between");
    assert_eq!(ask(before, " r"), format!("HD H{after} O7\n"), "nor less");
}

/// What was promised is older than this: somebody may have decided in between.
#[test]
fn what_is_newer_than_a_decision_and_came_from_elsewhere_is_not_changed_by_it() {
    let bench = bench();
    bench.text(&format!("ms a 1 V{}\n5\n", version(3)));
    let (early, late) = (decided(2, 1), decided(4, 1));
    assert_eq!(bench.text(&format!("ma a v V H{early}\n")), "NS H0\n");
    assert_eq!(bench.text(&format!("ms a 1 MA V H{early}\n1\n")), "NS H0\n");
    assert_eq!(bench.text(&format!("ma a v V H{late}\n")), format!("VA 1 V{late}\n6\n"));
}

#[test]
fn promise_tells_what_is_there_and_is_given_to_one_place_alone() {
    let bench = bench();
    let (zeroth, first) = (decided(5, 0), decided(9, 1));
    let ask = |least: u64| bench.text(&format!("mg a V H{least} O7\n"));
    assert_eq!(ask(zeroth), format!("HD H{zeroth} O7\n"));
    assert_eq!(ask(decided(7, 0)), format!("HD H{zeroth} O7\n"), "it has one");
    assert_eq!(ask(decided(5, 1)), format!("HD H{zeroth} O7\n"), "too low for another");
    assert_eq!(ask(decided(5, 0) + 0x10), format!("HD H{zeroth} O7\n"), "of the same zone, but another node");
    assert_eq!(ask(first), format!("HD H{first} O7\n"));
    assert_eq!(ask(decided(5_001, 0)), format!("NS K{} O7\n", START.0));
    // Nothing older than what was promised is decided here, by whatever place.
    assert_eq!(bench.text(&format!("ma a N0 J1 v V H{zeroth}\n")), "NS H0\n");
    assert_eq!(bench.text(&format!("ma a N0 J1 v V H{}\n", decided(8, 1))), "NS H0\n");
    assert_eq!(bench.text(&format!("ma a N0 J1 v V H{first}\n")), format!("VA 1 V{first}\n1\n"));
    let next = first + (1 << 12);
    assert_eq!(bench.text("ma a v V H3\n"), format!("VA 1 V{}\n2\n", next));
    // A plain write that came after all that was promised.
    let plain = version(20) & !1;
    bench.text(&format!("ms a 1 V{plain}\n7\n"));
    assert_eq!(ask(plain & !0xfff | 1), format!("HD V{plain} H{plain} O7\n"));
    let after = (plain & !0xfff) + (1 << 12) + 1;
    assert_eq!(ask(after), format!("HD V{plain} H{after} O7\n"));
}

/// What was seen in review: somebody asked all zones for a promise to this place and got it of this node alone, for
/// another was deciding elsewhere. Whoever went on here then got past what was decided there, without it.
#[test]
fn promise_of_this_node_alone_lets_nothing_jump_over_what_others_decide() {
    let bench = bench();
    let (last, promised) = (decided(5, 0), decided(9, 0));
    bench.text(&format!("ms a 1 V{}\n1\n", decided(7, 1)));
    assert_eq!(bench.text(&format!("mg a V H{promised}\n")), format!("HD V{} H{promised}\n", decided(7, 1)));
    assert_eq!(bench.text(&format!("ma a V H{}\n", decided(8, 0))), "NS H0\n", "others promised no more");
    bench.text(&format!("ms b 1 ME V H{last}\n1\n"));
    bench.text(&format!("mg b V H{}\n", decided(7, 1)));
    bench.text(&format!("mg b V H{promised}\n"));
    assert_eq!(bench.text("ma b V H1\n"), "NS H0\n", "what is here is older than that");
    assert_eq!(bench.text(&format!("ma b v V H{promised}\n")), format!("VA 1 V{promised}\n2\n"));
    assert!(bench.text("ma b v H1\n").ends_with("3\n"));
}

/// What was seen in review: each `add` of a key left a promise behind, and 30,000 of other keys in a moment made the node forget
/// those of which something was still to come.
#[test]
fn promise_of_which_something_came_takes_no_room_and_holds() {
    let bench = bench();
    let (first, late) = (decided(5, 0), decided(7, 0));
    let count = |key: &str| bench.shared.promises.of(key.as_bytes()).floor();
    bench.text(&format!("mg a V H{first}\nmg b V H{first}\nmg c V H{first}\n"));
    bench.text(&format!("ma a N0 J1 H{first}\nms b 1 V{first}\n1\n"));
    assert_eq!((count("a"), count("b"), count("c")), (None, None, Some(Version(first))));
    for key in ["a", "b"] {
        let asked = bench.text(&format!("mg {key} V H{}\n", decided(5, 1)));
        assert_eq!(asked, format!("HD V{first} H{first}\n"), "to nobody else");
    }
    bench.text(&format!("mg b V H{late} r\nms b 1 V{first}\n1\n"));
    assert_eq!(count("b"), Some(Version(late)), "what is older than it does not stand for it");
}

#[test]
fn outcome_older_than_a_promise_is_stored_and_not_agreed_to() {
    let bench = bench();
    let (early, floor, late) = (decided(5, 0), decided(9, 1), decided(10, 0));
    bench.text(&format!("mg a V H{floor}\n"));
    let store = |version: u64, value: &str| bench.text(&format!("ms a 1 V{version}\n{value}\n"));
    assert_eq!(store(early, "5"), format!("NS V{floor}\n"));
    assert_eq!(bench.text("mg a v\n"), "VA 1\n5\n");
    assert_eq!(
        store(decided(4, 0), "4"),
        format!("NS V{floor}\n"),
        "superseded, and by more than what is there"
    );
    let plain = version(6) & !1;
    assert_eq!(store(plain, "6"), format!("HD V{plain}\n"), "a plain write is nobody's decision");
    assert_eq!(store(late, "7"), format!("HD V{late}\n"));
}

/// What was seen: a zone that came back with something old, or with nothing, went on from there.
#[test]
fn only_what_was_decided_here_last_is_gone_on_with() {
    let bench = bench();
    let continuing = 1;
    let count = || bench.text(&format!("ma a v V H{continuing} O1\n"));
    assert_eq!(count(), "NS H0 O1\n", "nothing is here");
    bench.text(&format!("ms a 1 V{}\n5\n", version(1)));
    assert_eq!(count(), "NS H0 O1\n", "it was written by somebody");
    let first = decided(2, 0);
    let next = |counts: u64| first + ((counts - 1) << 12);
    assert_eq!(bench.text(&format!("ma a v V H{first}\n")), format!("VA 1 V{}\n6\n", next(1)));
    assert_eq!(count(), format!("VA 1 V{} O1\n7\n", next(2)));
    let joined = bench.text(&format!("ms a 1 MA V H{continuing}\n1\n"));
    assert_eq!(joined, format!("HD V{}\n", next(3)));
    assert_eq!(count(), format!("VA 2 V{} O1\n72\n", next(4)));
    bench.text("incr a 1\n");
    assert_eq!(count(), "NS H0 O1\n", "somebody counted on, for this node alone");
    assert_eq!(bench.text(&format!("ms a 1 MA V H{continuing}\n1\n")), "NS H0\n");
    // What another zone decided, as it comes from there.
    bench.text(&format!("ma a v V H{}\n", decided(3, 0)));
    bench.text(&format!("ms a 1 V{}\n9\n", decided(4, 1)));
    assert_eq!(count(), "NS H0 O1\n");
    let second = decided(5, 1);
    bench.text(&format!("ma a v V H{second}\n"));
    let next = second + (1 << 12);
    assert_eq!(count(), format!("VA 2 V{next} O1\n11\n"), "so may whoever stands in");
    let next = next + (1 << 12);
    assert_eq!(bench.text("ma a v V H21\n"), format!("VA 2 V{next}\n12\n"), "by whatever name it is known");
}

#[test]
fn node_that_settles_leaves_decisions_to_others_unless_nobody_else_is_there() {
    let bench = bench();
    bench.shared.note_request(bench.now);
    let first = version(1);
    assert_eq!(bench.text(&format!("ms a 1 ME V H{first} O1\n5\n")), "NS H5000 O1\n");
    assert_eq!(bench.text(&format!("ma a V H{first} O2\n")), "NS H5000 O2\n");
    assert_eq!(bench.text("mn V\n"), format!("MN V K{} H5000\n", START.0));
    assert_eq!(bench.text(&format!("ms a 1 ME V H{first} r\n5\n")), format!("HD V{first}\n"));
    let second = decided(2, 0);
    assert_eq!(bench.text(&format!("ma a V H{second} r\n")), format!("HD V{second}\n"));
    assert_eq!(bench.text("ms a 1 MA\n1\nma a v\nincr a 1\n"), "HD\nVA 2\n62\n63\n", "others notice nothing");
}

#[test]
fn node_that_was_away_for_long_says_so_to_newcomers_until_it_has_compared() {
    let mut bench = bench();
    bench.shared.reconciles.store(true, Ordering::Release);
    let note = |bench: &Bench| {
        bench.shared.note_request(bench.now);
        bench.shared.standing.note(bench.now, 0);
    };
    note(&bench);
    bench.shared.standing.settle(true);
    bench.now = Time(bench.now.0 + 9_000);
    note(&bench);
    assert!(!bench.shared.standing.is_kept_back(), "clients have brought what it missed");
    bench.now = Time(bench.now.0 + 60_000);
    bench.shared.note_request(bench.now);
    assert!(bench.shared.standing.is_kept_back(), "before anybody is answered");
    for later in 0..40 {
        note(&bench);
        assert_eq!(bench.text("mn V\n"), format!("MN V K{} H5000\n", bench.now.0), "{later}");
        bench.now = Time(bench.now.0 + 500);
    }
    let gap = bench.shared.standing.gap().expect("it was away");
    bench.shared.standing.made_up(gap);
    assert!(!bench.shared.standing.is_kept_back());
    assert_eq!(bench.text("mn V\n"), format!("MN V K{}\n", bench.now.0));
}

/// Four of 50,000 reads found what had been deleted, a second after their zone was back: all others were slow, and who asks
/// then asks whoever is left.
#[test]
fn node_that_was_away_for_long_shows_nothing_from_before_until_it_has_compared() {
    let mut bench = bench();
    bench.shared.reconciles.store(true, Ordering::Release);
    let note = |bench: &Bench| {
        bench.shared.note_request(bench.now);
        bench.shared.standing.note(bench.now, 0);
    };
    note(&bench);
    bench.shared.standing.settle(true);
    for key in ["k", "n", "c", "t", "v", "a", "i"] {
        assert_eq!(bench.text(&format!("set {key} 0 0 1\n7\n")), "STORED\n");
    }
    let (before, promised) = (version(0), version(80_000));
    assert_eq!(bench.text(&format!("ms w 1 V{before}\n7\n")), format!("HD V{before}\n"));
    bench.now = Time(bench.now.0 + 9_000);
    note(&bench);
    assert_eq!(bench.text("get k\n"), "VALUE k 0 1\n7\nEND\n", "clients have brought what it missed");
    bench.now = Time(bench.now.0 + 60_000);
    bench.shared.note_request(bench.now);
    for (asked, told) in [
        ("get k\n", "END\n"),
        ("gets k w\n", "END\n"),
        ("gat 100 k\n", "END\n"),
        ("mg k v\n", "EN\n"),
        ("touch t 100\n", "NOT_FOUND\n"),
        ("incr n 1\n", "NOT_FOUND\n"),
        ("append c 0 0 1\n8\n", "NOT_STORED\n"),
        ("md c C1\n", "NF\n"),
        ("md i I T30\n", "NF\n"),
        ("mg c v R30\n", "EN\n"),
        ("me c\n", "EN\n"),
        ("ma n N0 J3 v\n", "VA 1\n3\n"),
        ("mg v v N30\n", "VA 0 W\n\n"),
        ("add a 0 0 1\n8\n", "STORED\n"),
        ("get a n\n", "VALUE a 0 1\n8\nVALUE n 0 1\n3\nEND\n"),
    ] {
        assert_eq!(bench.text(asked), told, "{asked}");
    }
    bench.now = Time(bench.now.0 + 11_000);
    let told = bench.text(&format!("mg w V H{promised}\n"));
    assert!(told.starts_with("HD H"), "a decider is told of no version: {told}");
    let gap = bench.shared.standing.gap().expect("it was away");
    bench.shared.standing.made_up(gap);
    assert_eq!(bench.text("get k w\n"), "VALUE k 0 1\n7\nVALUE w 0 1\n7\nEND\n");
    let kept = "VALUE c 0 1\n7\nVALUE t 0 1\n7\nEND\n";
    assert_eq!(
        bench.text("get c t i\n"),
        kept,
        "what changed nothing has dropped nothing; what was invalidated is gone"
    );
}

#[test]
fn node_that_was_away_for_long_shows_what_came_since() {
    let mut bench = bench();
    bench.shared.reconciles.store(true, Ordering::Release);
    bench.shared.note_request(bench.now);
    bench.shared.standing.note(bench.now, 0);
    bench.shared.standing.settle(true);
    let brought = version(30_000);
    bench.now = Time(bench.now.0 + 60_000);
    bench.shared.note_request(bench.now);
    assert_eq!(bench.text(&format!("ms k 1 V{brought}\n7\n")), format!("HD V{brought}\n"));
    assert_eq!(bench.text("get k\n"), "VALUE k 0 1\n7\nEND\n", "written while it was away");
}

#[test]
fn node_that_was_away_shows_what_it_has_once_nobody_knows_more() {
    let mut bench = bench();
    bench.shared.reconciles.store(true, Ordering::Release);
    bench.shared.note_request(bench.now);
    bench.shared.standing.note(bench.now, 0);
    bench.text("set k 0 0 1\n7\n");
    bench.now = Time(bench.now.0 + 60_000);
    bench.shared.note_request(bench.now);
    assert_eq!(bench.text("get k\n"), "END\n");
    bench.shared.standing.show_all();
    assert_eq!(bench.text("get k\n"), "VALUE k 0 1\n7\nEND\n");
    assert!(bench.shared.standing.is_kept_back(), "still read by nobody who finds another");
}

#[test]
fn node_that_nobody_makes_up_for_is_not_kept_back() {
    let mut bench = bench();
    for _ in 0..2 {
        bench.shared.note_request(bench.now);
        bench.shared.standing.note(bench.now, 0);
        bench.now = Time(bench.now.0 + 600_000);
    }
    assert!(!bench.shared.standing.is_kept_back());
}

// Seen: what a node had evicted, and a plain client deleted there, lived on in the other zones.
#[test]
fn plain_delete_of_what_is_not_here_is_remembered_where_siblings_may_have_it() {
    for (reconciles, expected) in [(false, "HD"), (true, "NS")] {
        let bench = bench();
        bench.shared.reconciles.store(reconciles, Ordering::Release);
        let elsewhere = Version::at(Time(START.0 - 5_000), 9).0;
        assert_eq!(bench.text("delete a\n"), "NOT_FOUND\n");
        assert_eq!(bench.text("md b\n"), "NF\n");
        for key in ["a", "b"] {
            let repaired = bench.text(&format!("ms {key} 1 V{elsewhere} r\n1\n"));
            assert!(repaired.starts_with(expected), "{key}: {repaired}");
        }
    }
}
