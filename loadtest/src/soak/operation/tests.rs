//! Operations against a map that answers as memcached does, and against answers that must not be.

use bytes::BytesMut;
use evanesce_wire::{Decoded, Reply, ReplyDecoder, RequestDecoder, Status, Value};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::{Domain, Key, Kind, Operation, Verdict, parts};
use evanesce_wire::request::{Exptime, SetMode};

const DOMAIN: Domain = Domain { keys: 100, value_bytes_max: 5000 };

fn operation(kind: Kind, keys: Vec<Key>) -> Operation {
    Operation { kind, keys, value: Vec::new(), ttl: Exptime(0), number: 7, noreply: false }
}

fn hit(key: &Key, data: impl AsRef<[u8]>, cas: Option<u64>) -> Value {
    Value::new(&key.text, 0, cas, data.as_ref())
}

fn value_of(key: &Key) -> Vec<u8> {
    let mut value = Vec::new();
    parts::write(&key.text, 100, 1, &mut value);
    value
}

fn is_wrong(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Wrong(_))
}

#[test]
fn every_drawn_operation_is_a_request_that_servers_understand() {
    let seed = 7;
    let mut random = SmallRng::seed_from_u64(seed);
    let mut token = None;
    for number in 0..5000 {
        if number % 3 == 0 {
            token = Some((Key::of_value(number), 99));
        }
        let operation = DOMAIN.draw(&mut random, &mut token);
        let mut out = BytesMut::new();
        operation.encode(&mut out);
        let decoded = RequestDecoder::default().decode(&out);
        let Decoded::Request { request, consumed } = decoded else {
            panic!("seed {seed}, {operation:?}: {decoded:?}")
        };
        assert_eq!(consumed, out.len());
        assert_eq!(request.expect(), operation.expect());
    }
}

#[test]
fn values_of_the_keys_asked_for_are_right() {
    let keys = vec![Key::of_value(1), Key::of_value(2), Key::of_number(3)];
    let number = keys[2].number.expect("a number") + 5;
    let values = vec![hit(&keys[0], value_of(&keys[0]), None), hit(&keys[2], number.to_string(), None)];
    let get = operation(Kind::Get, keys);
    assert_eq!(get.judge(&Reply::Values(values)), Verdict::Right { hits: 2 });
    assert_eq!(get.judge(&Reply::Values(Vec::new())), Verdict::Right { hits: 0 });
}

#[test]
fn values_that_belong_elsewhere_are_wrong() {
    let (one, two) = (Key::of_value(1), Key::of_value(2));
    let get = operation(Kind::Get, vec![one.clone()]);
    for value in [
        hit(&two, value_of(&two), None),
        hit(&one, value_of(&two), None),
        hit(&one, &value_of(&one)[..99], None),
        hit(&one, Vec::new(), None),
        hit(&one, value_of(&one), Some(3)),
    ] {
        assert!(is_wrong(&get.judge(&Reply::Values(vec![value.clone()]))), "{value:?}");
    }
    let twice = vec![hit(&one, value_of(&one), None); 2];
    assert!(is_wrong(&get.judge(&Reply::Values(twice))));
}

#[test]
fn numbers_of_another_key_are_wrong() {
    let incr = operation(Kind::Incr, vec![Key::of_number(3)]);
    let first = |index| Key::of_number(index).number.expect("a number");
    assert_eq!(incr.judge(&Reply::Number(first(3) + 1000)), Verdict::Right { hits: 0 });
    assert!(is_wrong(&incr.judge(&Reply::Number(first(4)))));
    assert!(is_wrong(&incr.judge(&Reply::Number(7))));
}

#[test]
fn token_comes_from_gets_only() {
    let key = Key::of_value(1);
    let gets = operation(Kind::Gets, vec![key.clone()]);
    let reply = |cas| Reply::Values(vec![hit(&key, value_of(&key), cas)]);
    assert_eq!(gets.judge(&reply(Some(5))), Verdict::Token { key: key.clone(), cas: 5 });
    assert!(is_wrong(&gets.judge(&reply(None))));
}

#[test]
fn answers_of_another_kind_are_wrong() {
    let keys = vec![Key::of_value(1)];
    let allowed = [
        (Kind::Write(SetMode::Set), vec![Status::Stored]),
        (Kind::Write(SetMode::Add), vec![Status::Stored, Status::NotStored]),
        (Kind::Cas, vec![Status::Stored, Status::Exists, Status::NotFound]),
        (Kind::Delete, vec![Status::Deleted, Status::NotFound]),
        (Kind::Touch, vec![Status::Touched, Status::NotFound]),
        (Kind::Incr, vec![Status::NotFound]),
        (Kind::Get, vec![]),
    ];
    let all = [
        Status::Stored,
        Status::NotStored,
        Status::Exists,
        Status::NotFound,
        Status::Deleted,
        Status::Touched,
        Status::Ok,
    ];
    for (kind, allowed) in allowed {
        let operation = operation(kind, keys.clone());
        for status in all {
            let verdict = operation.judge(&Reply::Status(status));
            assert_eq!(!is_wrong(&verdict), allowed.contains(&status), "{kind:?} {status:?}");
        }
    }
}

#[test]
fn meta_answer_must_repeat_key_and_opaque() {
    let key = Key::of_value(1);
    let get = operation(Kind::MetaGet, vec![key.clone()]);
    let reply = |name: &Key, opaque: &str, value: &[u8]| {
        let mut input = BytesMut::new();
        input.extend_from_slice(format!("VA {} k", value.len()).as_bytes());
        input.extend_from_slice(&name.text);
        input.extend_from_slice(format!(" O{opaque}\r\n").as_bytes());
        input.extend_from_slice(value);
        input.extend_from_slice(b"\r\n");
        let expect = get.expect().expect("an answer comes");
        ReplyDecoder::new().decode(&mut input, expect).expect("well formed").expect("whole")
    };
    let value = value_of(&key);
    assert_eq!(get.judge(&reply(&key, "7", &value)), Verdict::Right { hits: 1 });
    assert!(is_wrong(&get.judge(&reply(&key, "8", &value))));
    assert!(is_wrong(&get.judge(&reply(&Key::of_value(2), "7", &value))));
    assert!(is_wrong(&get.judge(&reply(&key, "7", &value[..50]))));
}
