//! Whose near cache a key is in.

use super::*;

fn caches(settings: &NearSettings) -> NearCaches {
    NearCaches::new("HOME", settings)
}

fn key(prefix: &str, name: &str) -> Key {
    Key::new(prefix.as_bytes(), name.as_bytes()).expect("a good key")
}

fn item(value: &'static str) -> Item {
    Item { value: value.into(), flags: 0, cas: 0, ttl: None, version: None, until_secs: None }
}

/// Reads a key and keeps what it is; false when no near cache wants it.
fn read(near: &NearCaches, key: &Key, value: &'static str) -> bool {
    let Looked::Miss(ticket) = near.look(Form::verbatim(), key, false) else { return false };
    let Some(ticket) = ticket else { return false };
    near.keep(&ticket, Form::verbatim(), key, Some(&item(value)));
    true
}

fn found(near: &NearCaches, key: &Key) -> Option<Bytes> {
    match near.look(Form::verbatim(), key, true) {
        Looked::Hit(item) => Some(item.value),
        Looked::Miss(_) => None,
    }
}

fn large() -> NearCache {
    NearCache::new(1 << 20).ttl(Duration::from_secs(60))
}

#[test]
fn key_is_in_the_near_cache_of_its_namespace_through_any_handle() {
    let near = caches(&NearSettings { others: None, of: vec![("user".into(), large())] });
    assert!(read(&near, &key("user:", "42"), "v"));
    assert_eq!(found(&near, &key("", "user:42")), Some("v".into()));
    near.invalidate(&key("", "user:42"));
    assert_eq!(found(&near, &key("user:", "42")), None);
    assert!(!read(&near, &key("other:", "42"), "v") && !read(&near, &key("", "plain"), "v"));
}

#[test]
fn namespaces_without_their_own_share_one() {
    let near = caches(&NearSettings { others: Some(large()), of: vec![("user".into(), large())] });
    for key in [key("other:", "42"), key("", "plain")] {
        assert!(read(&near, &key, "v"));
        assert_eq!(found(&near, &key), Some("v".into()));
    }
    near.invalidate_all();
    assert_eq!(found(&near, &key("", "plain")), None);
}

#[test]
fn first_to_ask_decides_and_later_ones_share_it() {
    let near = caches(&NearSettings::default());
    assert!(!near.is_used());
    near.add(&"user:".into(), NearCache::new(0));
    assert!(!near.is_used(), "nothing would be kept");
    near.add(&"user:".into(), large());
    assert!(read(&near, &key("user:", "42"), "v"));
    near.add(&"user:".into(), NearCache::new(1));
    assert_eq!(found(&near, &key("user:", "42")), Some("v".into()));
}

#[test]
fn write_in_progress_voids_tickets_when_it_ends_however_it_does() {
    let near = caches(&NearSettings { others: Some(large()), of: Vec::new() });
    let key = key("", "k");
    let writing = near.writing(&key);
    let Looked::Miss(Some(ticket)) = near.look(Form::verbatim(), &key, true) else { panic!("a miss") };
    drop(writing);
    near.keep(&ticket, Form::verbatim(), &key, Some(&item("old")));
    assert_eq!(found(&near, &key), None);
}

#[test]
fn near_caches_are_bounded_in_number() {
    let near = caches(&NearSettings::default());
    for index in 0..NEAR_CACHES_MAX + 1 {
        near.add(&format!("n{index}:").into(), NearCache::new(1 << 10));
    }
    assert_eq!(near.all.load().by_prefix.len(), NEAR_CACHES_MAX);
}

#[test]
fn name_that_is_no_namespace_s_is_found_out() {
    let settings = |name: &str| NearSettings { others: None, of: vec![(name.into(), large())] };
    assert!(settings("user").is_sound() && !settings("us er").is_sound());
}

#[test]
fn diagnostics_tell_what_each_holds() {
    let near = caches(&NearSettings { others: Some(NearCache::new(7)), of: vec![("user".into(), large())] });
    assert!(read(&near, &key("user:", "42"), "v"));
    let told = near.diagnostics();
    let [others, users] = &told[..] else { panic!("{told:?}") };
    assert_eq!((&others.namespace[..], others.bytes, others.bytes_max), ("default", 0, 7));
    assert_eq!((&users.namespace[..], users.ttl), ("user", Duration::from_secs(60)));
    assert!(users.bytes > 0, "{users:?}");
}
