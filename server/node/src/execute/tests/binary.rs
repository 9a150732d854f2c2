//! The binary protocol: requests in hex-free form, replies in words.

use evanesce_wire::binary::opcode;

use super::Bench;

const OPAQUE: u32 = 0x0102_0304;

/// One reply, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Reply {
    opcode: u8,
    status: u16,
    has_cas: bool,
    extras: Vec<u8>,
    key: String,
    value: Vec<u8>,
}

fn frame(opcode: u8, extras: &[u8], key: &str, value: &[u8], cas: u64) -> Vec<u8> {
    let body = extras.len() + key.len() + value.len();
    let mut frame = vec![0x80, opcode];
    frame.extend_from_slice(&(key.len() as u16).to_be_bytes());
    frame.extend_from_slice(&[extras.len() as u8, 0, 0, 0]);
    frame.extend_from_slice(&(body as u32).to_be_bytes());
    frame.extend_from_slice(&OPAQUE.to_be_bytes());
    frame.extend_from_slice(&cas.to_be_bytes());
    [&frame[..], extras, key.as_bytes(), value].concat()
}

fn get(opcode: u8, key: &str) -> Vec<u8> {
    frame(opcode, b"", key, b"", 0)
}

fn gat(opcode: u8, key: &str, exptime: u32) -> Vec<u8> {
    frame(opcode, &exptime.to_be_bytes(), key, b"", 0)
}

/// With flags 5 and no expiry.
fn set(opcode: u8, key: &str, value: &str, cas: u64) -> Vec<u8> {
    frame(opcode, &[0, 0, 0, 5, 0, 0, 0, 0], key, value.as_bytes(), cas)
}

fn append(opcode: u8, key: &str, value: &str, cas: u64) -> Vec<u8> {
    frame(opcode, b"", key, value.as_bytes(), cas)
}

fn incr(opcode: u8, key: &str, delta: u64, initial: u64, exptime: u32, cas: u64) -> Vec<u8> {
    let extras = [&delta.to_be_bytes()[..], &initial.to_be_bytes(), &exptime.to_be_bytes()].concat();
    frame(opcode, &extras, key, b"", cas)
}

impl Bench {
    /// What all of `requests` is answered, the token of the last reply too.
    fn binary(&self, requests: &[Vec<u8>]) -> (Vec<Reply>, u64) {
        let sent = self.send(&requests.concat());
        let (mut replies, mut token, mut rest) = (Vec::new(), 0, &sent[..]);
        while !rest.is_empty() {
            let (header, body) = rest.split_at(24);
            let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
            assert_eq!((header[0], header[5], number(12)), (0x81, 0, OPAQUE));
            let (body, after) = body.split_at(number(8) as usize);
            let (extras, body) = body.split_at(usize::from(header[4]));
            let (key, value) = body.split_at(usize::from(u16::from_be_bytes([header[2], header[3]])));
            token = u64::from_be_bytes(header[16..].try_into().unwrap());
            replies.push(Reply {
                opcode: header[1],
                status: u16::from_be_bytes([header[6], header[7]]),
                has_cas: token != 0,
                extras: extras.to_vec(),
                key: String::from_utf8(key.to_vec()).unwrap(),
                value: value.to_vec(),
            });
            rest = after;
        }
        (replies, token)
    }

    /// Statuses of all answers, each with its value in text.
    fn statuses(&self, requests: &[Vec<u8>]) -> Vec<(u8, u16, String)> {
        let text = |value: Vec<u8>| String::from_utf8(value).unwrap();
        self.binary(requests).0.into_iter().map(|r| (r.opcode, r.status, text(r.value))).collect()
    }
}

fn hit(opcode: u8, key: &str, value: &str) -> Reply {
    let (extras, key, value) = (vec![0, 0, 0, 5], key.to_owned(), value.as_bytes().to_vec());
    Reply { opcode, status: 0, has_cas: true, extras, key, value }
}

fn error(opcode: u8, status: u16, text: &str) -> (u8, u16, String) {
    (opcode, status, text.to_owned())
}

#[test]
fn hits_carry_flags_and_token_and_the_key_where_asked() {
    let bench = Bench::new();
    bench.binary(&[set(opcode::SET, "k", "value", 0)]);
    for (opcode, key) in [(opcode::GET, ""), (opcode::GETQ, ""), (opcode::GETK, "k"), (opcode::GETKQ, "k")] {
        assert_eq!(bench.binary(&[get(opcode, "k")]).0, [hit(opcode, key, "value")]);
    }
    for (opcode, key) in [(opcode::GAT, ""), (opcode::GATQ, ""), (opcode::GATK, "k"), (opcode::GATKQ, "k")] {
        assert_eq!(bench.binary(&[gat(opcode, "k", 100)]).0, [hit(opcode, key, "value")]);
    }
    assert_eq!(bench.binary(&[gat(opcode::TOUCH, "k", 100)]).0, [hit(opcode::TOUCH, "", "")]);
    assert_eq!(bench.text("mg k t\n"), "HD t100\n");
    assert_eq!((bench.stat("get_hits"), bench.stat("touch_hits"), bench.stat("cmd_set")), (5, 5, 1));
}

#[test]
fn quiet_miss_is_silent_and_a_loud_one_with_key_repeats_it() {
    let bench = Bench::new();
    let loud = [
        get(opcode::GET, "x"),
        get(opcode::GETK, "x"),
        gat(opcode::TOUCH, "x", 1),
        gat(opcode::GAT, "x", 1),
        gat(opcode::GATK, "x", 1),
    ];
    let replies = bench.binary(&loud).0;
    let told: Vec<(u16, &str, &[u8])> =
        replies.iter().map(|r| (r.status, &r.key[..], &r.value[..])).collect();
    let (plain, key) = ((1, "", &b"Not found"[..]), (1, "x", &b""[..]));
    assert_eq!(told, [plain, key, plain, plain, key]);
    let quiet = [
        get(opcode::GETQ, "x"),
        get(opcode::GETKQ, "x"),
        gat(opcode::GATQ, "x", 1),
        gat(opcode::GATKQ, "x", 1),
    ];
    assert_eq!(bench.binary(&quiet).0, []);
    assert_eq!((bench.stat("get_misses"), bench.stat("touch_misses")), (4, 5));
}

#[test]
fn quiet_success_is_silent_and_errors_are_not() {
    let bench = Bench::new();
    let good = [
        set(opcode::SETQ, "k", "5", 0),
        append(opcode::APPENDQ, "k", "6", 0),
        append(opcode::PREPENDQ, "k", "1", 0),
        incr(opcode::INCREMENTQ, "k", 2, 0, 0, 0),
        incr(opcode::DECREMENTQ, "k", 1, 0, 0, 0),
    ];
    assert_eq!(bench.binary(&good).0, []);
    assert_eq!(bench.text("get k\n"), "VALUE k 5 3\n157\nEND\n");
    let more = [
        set(opcode::REPLACEQ, "k", "x", 0),
        get(opcode::DELETEQ, "k"),
        set(opcode::ADDQ, "k", "y", 0),
        get(opcode::FLUSHQ, ""),
        get(opcode::NOOP, ""),
    ];
    assert_eq!(bench.statuses(&more), [error(opcode::NOOP, 0, "")]);
    bench.binary(&[set(opcode::SET, "k", "y", 0)]);
    let bad = [
        set(opcode::ADDQ, "k", "y", 0),
        set(opcode::REPLACEQ, "x", "y", 0),
        append(opcode::APPENDQ, "x", "y", 0),
        get(opcode::DELETEQ, "x"),
        incr(opcode::INCREMENTQ, "x", 1, 0, u32::MAX, 0),
        incr(opcode::DECREMENTQ, "k", 1, 0, 0, 0),
    ];
    let expected = [
        error(opcode::ADDQ, 2, "Data exists for key."),
        error(opcode::REPLACEQ, 1, "Not found"),
        error(opcode::APPENDQ, 5, "Not stored."),
        error(opcode::DELETEQ, 1, "Not found"),
        error(opcode::INCREMENTQ, 1, "Not found"),
        error(opcode::DECREMENTQ, 6, "Non-numeric server-side value for incr or decr"),
    ];
    assert_eq!(bench.statuses(&bad), expected);
}

#[test]
fn token_makes_a_cas_of_every_write() {
    let bench = Bench::new();
    let all = |key: &str, cas: u64| {
        [
            set(opcode::SET, key, "7", cas),
            set(opcode::ADD, key, "7", cas),
            set(opcode::REPLACE, key, "7", cas),
            append(opcode::APPEND, key, "7", cas),
            append(opcode::PREPEND, key, "7", cas),
            get(opcode::DELETE, key)
                .into_iter()
                .take(16)
                .chain(cas.to_be_bytes())
                .chain(key.bytes())
                .collect(),
            incr(opcode::INCREMENT, key, 1, 41, 0, cas),
        ]
    };
    let statuses = |requests: &[Vec<u8>]| -> Vec<u16> {
        bench.binary(requests).0.iter().map(|reply| reply.status).collect()
    };
    bench.binary(&[set(opcode::SET, "k", "5", 0)]);
    assert_eq!(statuses(&all("k", 77)), [2; 7]);
    // What makes a number makes it, whatever token was asked for.
    assert_eq!(statuses(&all("x", 77)), [1, 1, 1, 5, 5, 1, 0]);
    for at in 0..7 {
        let token = bench.binary(&[set(opcode::SET, "k", "5", 0)]).1;
        assert_eq!(statuses(&all("k", token)[at..=at]), [0]);
    }
    assert_eq!((bench.stat("cas_hits"), bench.stat("cas_misses")), (5, 3));
}

#[test]
fn numbers_are_eight_bytes_and_made_where_asked() {
    let bench = Bench::new();
    let number = |request| {
        let reply = bench.binary(&[request]).0.remove(0);
        assert!(reply.status == 0 && reply.has_cas);
        u64::from_be_bytes(reply.value.try_into().unwrap())
    };
    assert_eq!(number(incr(opcode::INCREMENT, "n", 5, 10, 60, 0)), 10);
    assert_eq!(number(incr(opcode::INCREMENT, "n", 5, 10, 0, 0)), 15);
    assert_eq!(number(incr(opcode::DECREMENT, "n", 100, 10, 0, 0)), 0);
    assert_eq!(number(incr(opcode::INCREMENT, "n", u64::MAX, 10, 0, 0)), u64::MAX);
    assert_eq!(number(incr(opcode::INCREMENT, "n", 1, 10, 0, 0)), 0);
    assert_eq!(bench.text("mg n t\n"), "HD t60\n");
}

#[test]
fn statistics_end_with_an_empty_one() {
    let bench = Bench::new();
    let stat = |argument: &str| bench.binary(&[get(opcode::STAT, argument)]).0;
    let all = stat("");
    assert!(all.iter().any(|reply| reply.key == "version" && reply.value == b"1.6.18"));
    let last = all.last().unwrap();
    assert_eq!((last.status, &last.key[..], &last.value[..]), (0, "", &b""[..]));
    assert!(stat("settings").iter().any(|reply| reply.key == "item_size_max"));
    assert_eq!(stat("reset").len(), 1);
    assert_eq!(bench.statuses(&[get(opcode::STAT, "bogus")]), [error(opcode::STAT, 1, "Not found")]);
}

#[test]
fn commands_without_a_key() {
    let bench = Bench::new();
    let requests = [get(opcode::VERSION, ""), get(opcode::NOOP, ""), get(opcode::SASL_LIST, "")];
    let expected = [
        error(opcode::VERSION, 0, "1.6.18"),
        error(opcode::NOOP, 0, ""),
        error(opcode::SASL_LIST, 0x81, "Unknown command"),
    ];
    assert_eq!(bench.statuses(&requests), expected);
    // Nothing behind a `quit` is answered.
    let quit = [get(opcode::QUIT, ""), get(opcode::NOOP, "")];
    assert_eq!(bench.statuses(&quit), [error(opcode::QUIT, 0, "")]);
}

#[test]
fn flush_takes_effect_when_it_says() {
    let mut bench = Bench::new();
    bench.binary(&[set(opcode::SET, "k", "v", 0)]);
    assert_eq!(bench.statuses(&[gat(opcode::FLUSH, "", 10)]), [error(opcode::FLUSH, 0, "")]);
    assert_eq!(bench.binary(&[get(opcode::GET, "k")]).0, [hit(opcode::GET, "", "v")]);
    bench.now.0 += 11_000;
    assert_eq!(bench.binary(&[get(opcode::GETQ, "k")]).0, []);
    bench.binary(&[set(opcode::SET, "k", "v", 0), get(opcode::FLUSHQ, "")]);
    assert_eq!(bench.binary(&[get(opcode::GETQ, "k")]).0, []);
    assert_eq!(bench.stat("cmd_flush"), 2);
}

// Netflix's client drops the connection over memcached's own status, 0x03.
#[test]
fn too_large_value_is_out_of_memory_and_drops_the_item_of_set_only() {
    let bench = Bench::new();
    let large = "x".repeat((1 << 20) + 1);
    bench.binary(&[set(opcode::SET, "k", "v", 0)]);
    let refused = |opcode| [error(opcode, 0x82, "Too large.")];
    assert_eq!(bench.statuses(&[set(opcode::ADD, "k", &large, 0)]), refused(opcode::ADD));
    assert_eq!(bench.statuses(&[append(opcode::APPENDQ, "k", &large, 0)]), refused(opcode::APPENDQ));
    assert_eq!(bench.binary(&[get(opcode::GET, "k")]).0, [hit(opcode::GET, "", "v")]);
    assert_eq!(bench.statuses(&[set(opcode::SETQ, "k", &large, 7)]), refused(opcode::SETQ));
    assert_eq!(bench.binary(&[get(opcode::GETQ, "k")]).0, []);
}
