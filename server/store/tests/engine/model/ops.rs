//! Operations as values, with times and tokens relative to what is there when they are carried out.

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof};

/// One operation.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Read {
        key: u8,
        touch: Option<Ttl>,
        vivify: Option<Ttl>,
        recache: Option<u16>,
        late: bool,
        may_win: bool,
        counts: bool,
    },
    Write(WriteOp),
    Delete {
        key: u8,
        mode: Del,
        compare: Option<Token>,
        cas: Option<u64>,
        version: Option<Stamp>,
    },
    Arithmetic {
        key: u8,
        up: bool,
        delta: u64,
        initial: Option<(u64, Ttl)>,
        touch: Option<Ttl>,
        compare: Option<Token>,
    },
    SetNumber {
        key: u8,
        text: &'static str,
    },
    Flush {
        namespace: Option<u8>,
        in_ms: i32,
    },
    Expire {
        items_max: usize,
    },
    Walk,
    Clock {
        by_ms: i32,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct WriteOp {
    pub(crate) key: u8,
    pub(crate) size: usize,
    pub(crate) flags: u32,
    pub(crate) ttl: Ttl,
    pub(crate) mode: Mode,
    pub(crate) compare: Option<(Token, bool)>,
    pub(crate) cas: Option<u64>,
    pub(crate) version: Option<Stamp>,
    pub(crate) repair: bool,
}

/// Milliseconds from now, maybe past; or never.
pub(crate) type Ttl = Option<i16>;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Mode {
    Set,
    Add,
    Replace,
    Append(Option<Ttl>),
    Prepend(Option<Ttl>),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Del {
    Remove,
    DropValue,
    Invalidate(Option<Ttl>, bool),
}

/// A CAS token to compare with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Token {
    /// What is there, and so much.
    Near(i8),
    /// A number, as overrides are.
    Number(u64),
}

/// A writer's version: of one of a few writers, half seconds from now, so that equal ones come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    pub(crate) halves: i8,
    pub(crate) writer: u16,
}

fn token() -> impl Strategy<Value = Token> {
    prop_oneof![(-1i8..2).prop_map(Token::Near), Just(Token::Near(0)), (0u64..6).prop_map(Token::Number)]
}

fn stamp() -> impl Strategy<Value = Stamp> {
    (-4i8..4, 1u16..4).prop_map(|(halves, writer)| Stamp { halves, writer })
}

fn ttl() -> impl Strategy<Value = Ttl> {
    prop_oneof![3 => Just(None), 1 => (-100i16..3000).prop_map(Some)]
}

fn maybe<S: Strategy>(strategy: S) -> impl Strategy<Value = Option<S::Value>>
where
    S::Value: Clone,
{
    prop::option::weighted(0.25, strategy)
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        6 => Just(Mode::Set),
        1 => Just(Mode::Add),
        1 => Just(Mode::Replace),
        1 => maybe(ttl()).prop_map(Mode::Append),
        1 => maybe(ttl()).prop_map(Mode::Prepend),
    ]
}

fn del() -> impl Strategy<Value = Del> {
    prop_oneof![
        3 => Just(Del::Remove),
        1 => Just(Del::DropValue),
        1 => (maybe(ttl()), any::<bool>()).prop_map(|(touch, drop)| Del::Invalidate(touch, drop)),
    ]
}

fn write(keys: u8, size: impl Strategy<Value = usize>) -> impl Strategy<Value = Op> {
    let demands = (mode(), maybe((token(), any::<bool>())));
    let versions = (prop::option::weighted(0.4, stamp()), any::<bool>());
    let rest = (0..keys, size, 0u32..3, ttl(), maybe(0u64..6));
    (rest, demands, versions).prop_map(
        |((key, size, flags, ttl, cas), (mode, compare), (version, repair))| {
            Op::Write(WriteOp { key, size, flags, ttl, mode, compare, cas, version, repair })
        },
    )
}

/// Any operation.
pub(crate) fn op(keys: u8, size: impl Strategy<Value = usize> + 'static) -> impl Strategy<Value = Op> {
    let key = move || 0..keys;
    let numbers = ["0", "9", "10", "99 ", "18446744073709551615", "x", "", "7 7"];
    prop_oneof![
        8 => (key(), maybe(ttl()), maybe(ttl()), maybe(0u16..3000), any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(key, touch, vivify, recache, late, may_win, counts)| {
                Op::Read { key, touch, vivify, recache, late, may_win, counts }
            }),
        10 => write(keys, size),
        4 => (key(), del(), maybe(token()), maybe(0u64..6), maybe(stamp()))
            .prop_map(|(key, mode, compare, cas, version)| Op::Delete { key, mode, compare, cas, version }),
        2 => (key(), any::<bool>(), 0u64..200, maybe((0u64..200, ttl())), maybe(ttl()), maybe(token()))
            .prop_map(|(key, up, delta, initial, touch, compare)| {
                Op::Arithmetic { key, up, delta, initial, touch, compare }
            }),
        2 => (key(), prop::sample::select(numbers.to_vec())).prop_map(|(key, text)| Op::SetNumber { key, text }),
        1 => (prop::option::of(0u8..4), -500i32..2000).prop_map(|(namespace, in_ms)| Op::Flush { namespace, in_ms }),
        1 => (0usize..50).prop_map(|items_max| Op::Expire { items_max }),
        1 => Just(Op::Walk),
        3 => (-500i32..1500).prop_map(|by_ms| Op::Clock { by_ms }),
    ]
}
