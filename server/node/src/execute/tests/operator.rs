//! What operators and their tools ask.

use std::sync::atomic::Ordering;

use evanesce_store::Time;

use super::{Bench, START, check};
use evanesce_wire::request::WatchKinds;

#[test]
fn metadump_lists_every_item_once_as_memcached_does() {
    let mut bench = Bench::new();
    bench.text("set a 5 0 3\nabc\nget a\nset b:%20c 0 60 1\nx\nms YSBi 2 b E77\nhi\nset gone 0 1 1\nx\n");
    bench.now.0 += 2_000;
    for scope in ["all", "hash", "1", "7,1"] {
        let text = bench.text(&format!("lru_crawler metadump {scope}\n"));
        let mut lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.pop(), Some("END"), "{scope}");
        lines.sort_unstable();
        let (la, exp) = (START.0 / 1000, START.0 / 1000 + 60);
        assert_eq!(lines.len(), 3, "{text}");
        assert!(
            lines[0].starts_with(&format!("key=a exp=-1 la={la} cas="))
                && lines[0].ends_with(" fetch=yes cls=1 size=4")
        );
        assert_eq!(lines[1], format!("key=a%20b exp=-1 la={la} cas=77 fetch=no cls=1 size=5"));
        assert!(lines[2].starts_with(&format!("key=b%3A%2520c exp={exp} la={la} cas=")));
    }
    assert_eq!(bench.text("lru_crawler metadump 2\n"), "END\n");
    let text = bench.text("lru_crawler mgdump hash\n");
    let mut lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.remove(0), lines.pop()), ("OK", Some("EN")));
    lines.sort_unstable();
    assert_eq!(lines, ["mg YSBi b", "mg a", "mg b:%20c"]);
}

#[test]
fn node_that_was_away_for_long_lists_nothing_from_before_until_it_has_compared() {
    // Versions tell, and begin later than other tests do.
    let mut bench = Bench { now: Time(START.0 + 100_000_000_000), ..Bench::new() };
    bench.shared.reconciles.store(true, Ordering::Release);
    bench.shared.note_request(bench.now);
    bench.shared.standing.note(bench.now, 0);
    bench.shared.standing.settle(true);
    bench.text("set before 0 0 1\n1\n");
    bench.now.0 += 60_000;
    bench.shared.note_request(bench.now);
    bench.text("set since 0 0 1\n1\n");
    let listed = |bench: &Bench, form: &str| {
        let text = bench.text(&format!("lru_crawler {form} all\n"));
        ["before", "since"].map(|key| text.contains(key))
    };
    for form in ["metadump", "mgdump"] {
        assert_eq!(listed(&bench, form), [false, true], "{form}");
    }
    bench.shared.standing.made_up(bench.shared.standing.gap().expect("it was away"));
    for form in ["metadump", "mgdump"] {
        assert_eq!(listed(&bench, form), [true, true], "{form}");
    }
}

#[test]
fn large_store_is_listed_in_small_steps() {
    let bench = Bench::new();
    let sets: String = (0..20_000).map(|key| format!("set key{key} 0 0 1 noreply\nx\n")).collect();
    assert_eq!(bench.text(&sets), "");
    let mut listing = crate::execute::Listing::of(&evanesce_wire::Request::LruCrawler(
        evanesce_wire::request::LruCrawler::Metadump(evanesce_wire::request::Scope::All),
    ))
    .expect("it lists");
    let (mut keys, mut longest, mut more) = (std::collections::HashSet::new(), 0, true);
    while more {
        let mut out = Vec::new();
        more = listing.step(&bench.context(), &mut out);
        longest = longest.max(out.len());
        let text = String::from_utf8(out).unwrap();
        for line in text.lines().filter(|line| line.starts_with("key=")) {
            assert!(keys.insert(line.split(' ').next().unwrap().to_owned()), "{line} twice");
        }
    }
    assert_eq!(keys.len(), 20_000);
    assert!(longest < 256 << 10, "a step brought {longest} bytes");
}

#[test]
fn crawler_words_are_taken_and_do_nothing() {
    check(&[
        ("lru_crawler enable\nlru_crawler disable\n", "OK\nOK\n"),
        ("lru_crawler sleep 100\nlru_crawler tocrawl 0\nlru_crawler crawl all\n", "OK\nOK\nOK\n"),
        ("lru_crawler metadump x\n", "BADCLASS invalid class id\n"),
        ("lru_crawler sleep 2000000\n", "CLIENT_ERROR sleep must be one second or less\n"),
        ("lru_crawler metadump\nlru_crawler\nlru_crawler foo\n", "ERROR\nERROR\nERROR\n"),
    ]);
}

#[test]
fn what_is_not_enabled_is_refused_with_memcacheds_lines() {
    check(&[
        ("shutdown\nshutdown graceful\nshutdown foo\n", &"ERROR: shutdown not enabled\n".repeat(3)),
        ("config get cluster\nconfig get other\nconfig\n", "ERROR\nERROR\nERROR\n"),
        ("watch nonsense\n", "ERROR\n"),
    ]);
}

#[test]
fn shutdown_that_is_enabled_asks_for_a_drain() {
    let mut bench = Bench::new();
    bench.shared.facts.shutdown_command = true;
    assert_eq!(bench.text("shutdown foo\n"), "CLIENT_ERROR invalid shutdown mode\n");
    assert!(!bench.shared.drain.is_requested());
    assert_eq!(bench.text("shutdown graceful\nversion\n"), "");
    assert!(bench.shared.drain.is_requested());
}

#[test]
fn configuration_is_told_where_it_is_to_be() {
    let mut bench = Bench::new();
    bench.shared.facts.configuration = Some("1\n10.0.0.7|10.0.0.7|11211\n".to_owned());
    let reply = bench.send(b"config get cluster\r\n");
    assert_eq!(reply, b"CONFIG cluster 0 26\r\n1\n10.0.0.7|10.0.0.7|11211\n\r\nEND\r\n");
}

#[test]
fn one_class_is_told_of_while_there_are_items() {
    let bench = Bench::new();
    assert_eq!(bench.text("stats items\n"), "END\n");
    assert!(bench.text("stats slabs\n").starts_with("STAT active_slabs 0\n"));
    bench.text("set a 0 0 1\nx\nget a\n");
    let items = bench.text("stats items\n");
    assert!(items.starts_with("STAT items:1:number 1\nSTAT items:1:mem_requested "), "{items}");
    let slabs = bench.text("stats slabs\n");
    assert!(slabs.starts_with("STAT 1:used_chunks 1\nSTAT 1:get_hits 1\nSTAT 1:cmd_set 1\n"), "{slabs}");
}

#[tokio::test]
async fn watcher_is_told_of_what_requests_do() {
    let bench = Bench::new();
    let all = WatchKinds::FETCHERS.and(WatchKinds::MUTATIONS).and(WatchKinds::DELETIONS);
    let watcher = bench.shared.watchers.add(all).unwrap();
    bench.text("set a 0 60 3\nabc\nget a b\nms a 2 MA\nde\nma n N0 J5\nincr n 5\nmd a\ntouch b 1\n");
    let lines = String::from_utf8(watcher.lines().await).unwrap();
    let events: Vec<&str> = lines.lines().map(|line| line.split_once("type=").unwrap().1).collect();
    assert_eq!(
        events,
        [
            "item_store key=a status=stored cmd=set ttl=60 clsid=1 cfd=3 size=3",
            "item_get key=a status=found clsid=1 cfd=3 size=3",
            "item_get key=b status=not_found clsid=0 cfd=3 size=0",
            "item_store key=a status=stored cmd=append ttl=0 clsid=1 cfd=3 size=5",
            "item_store key=n status=stored cmd=incr ttl=0 clsid=1 cfd=3 size=1",
            "item_store key=n status=stored cmd=incr ttl=0 clsid=1 cfd=3 size=2",
            "deleted key=a cmd=md clsid=1 size=0",
            "item_get key=b status=not_found clsid=0 cfd=3 size=0",
        ]
    );
    assert_eq!((bench.stat("log_watchers"), bench.stat("log_watcher_sent")), (1, 8));
}

#[tokio::test]
async fn watcher_is_told_of_evictions() {
    let bench = Bench::new();
    let watcher = bench.shared.watchers.add(WatchKinds::EVICTIONS).unwrap();
    let value = "v".repeat(4000);
    for key in 0..6_000 {
        bench.text(&format!("set key{key} 0 100 4000 noreply\n{value}\n"));
    }
    assert!(bench.stat("evictions") > 0);
    let lines = String::from_utf8(watcher.lines().await).unwrap();
    let first = lines.lines().next().unwrap();
    assert!(first.contains(" type=eviction key=key"), "{first}");
    assert!(first.contains(" fetch=no ttl=") && first.ends_with(" clsid=1 size=4000"), "{first}");
}
