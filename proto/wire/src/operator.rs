//! What operators and their tools ask: `lru_crawler`, `watch`, `shutdown`, `config get cluster`.

use bytes::BytesMut;

use crate::encode;
use crate::error_lines::{BAD_CLASS, BAD_FORMAT, Refusal, SLEEP_TOO_LONG, UNKNOWN_COMMAND};
use crate::request::Request;
use crate::token;

/// The size classes that memcached may have; one beyond them is no class.
const CLASSES: std::ops::RangeInclusive<u64> = 1..=63;

/// The longest rest that `lru_crawler sleep` may ask for, in microseconds.
const SLEEP_MICROS_MAX: u64 = 1_000_000;

/// `lru_crawler` and what it is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LruCrawler<'a> {
    /// `metadump`: list keys, with what is known of their items.
    Metadump(Scope<'a>),
    /// `mgdump`: list keys, each as the `mg` that reads it.
    Mgdump(Scope<'a>),
    /// `crawl`: look for expired items.
    Crawl(Scope<'a>),
    /// `enable`.
    Enable,
    /// `disable`.
    Disable,
    /// `sleep`, in microseconds between two items.
    Sleep(u32),
    /// `tocrawl`: items to look at in one crawl.
    Tocrawl(u32),
}

/// Which items `lru_crawler` is to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    /// `all`: all, by size class.
    All,
    /// `hash`: all, as the hash table has them.
    Hash,
    /// Size classes by number, with commas between them, as sent. Checked.
    Classes(&'a [u8]),
}

impl<'a> Scope<'a> {
    fn of(word: &'a [u8]) -> Option<Scope<'a>> {
        match word {
            b"all" => Some(Scope::All),
            b"hash" => Some(Scope::Hash),
            _ => classes(word)
                .all(|class| token::u64(class).is_some_and(|class| CLASSES.contains(&class)))
                .then_some(Scope::Classes(word)),
        }
    }

    /// Whether items of this size class are among them.
    pub fn has(&self, class: u64) -> bool {
        match self {
            Scope::All | Scope::Hash => true,
            Scope::Classes(words) => classes(words).any(|word| token::u64(word) == Some(class)),
        }
    }

    fn word(&self) -> &'a [u8] {
        match self {
            Scope::All => b"all",
            Scope::Hash => b"hash",
            Scope::Classes(words) => words,
        }
    }
}

fn classes(words: &[u8]) -> impl Iterator<Item = &[u8]> {
    words.split(|byte| *byte == b',').filter(|word| !word.is_empty())
}

/// What `watch` is to show: a set of kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct WatchKinds(u16);

impl WatchKinds {
    /// Lookups.
    pub const FETCHERS: WatchKinds = WatchKinds(1);
    /// Writes.
    pub const MUTATIONS: WatchKinds = WatchKinds(1 << 1);
    /// Items evicted.
    pub const EVICTIONS: WatchKinds = WatchKinds(1 << 2);
    /// Connections that come and go.
    pub const CONNEVENTS: WatchKinds = WatchKinds(1 << 3);
    /// Deletes.
    pub const DELETIONS: WatchKinds = WatchKinds(1 << 4);
    /// memcached's other kinds: known, and nothing happens of them here.
    const OTHERS: [(&'static [u8], WatchKinds); 5] = [
        (b"rawcmds", WatchKinds(1 << 5)),
        (b"sysevents", WatchKinds(1 << 6)),
        (b"proxyreqs", WatchKinds(1 << 7)),
        (b"proxyevents", WatchKinds(1 << 8)),
        (b"proxyuser", WatchKinds(1 << 9)),
    ];
    const OURS: [(&'static [u8], WatchKinds); 5] = [
        (b"fetchers", WatchKinds::FETCHERS),
        (b"mutations", WatchKinds::MUTATIONS),
        (b"evictions", WatchKinds::EVICTIONS),
        (b"connevents", WatchKinds::CONNEVENTS),
        (b"deletions", WatchKinds::DELETIONS),
    ];

    /// No kind.
    pub const fn none() -> WatchKinds {
        WatchKinds(0)
    }

    /// Kinds out of [`WatchKinds::bits`].
    pub const fn from_bits(bits: u16) -> WatchKinds {
        WatchKinds(bits)
    }

    /// A bit for each kind.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// These and those.
    #[must_use]
    pub const fn and(self, other: WatchKinds) -> WatchKinds {
        WatchKinds(self.0 | other.0)
    }

    /// Whether any of those is among these.
    #[inline]
    pub const fn has(self, other: WatchKinds) -> bool {
        self.0 & other.0 != 0
    }

    fn named() -> impl Iterator<Item = (&'static [u8], WatchKinds)> {
        WatchKinds::OURS.into_iter().chain(WatchKinds::OTHERS)
    }
}

/// `lru_crawler <what> [<argument>]`
pub(crate) fn decode_crawler(text: &[u8]) -> Result<Request<'_>, Refusal> {
    let (words, count) = token::words::<2>(text);
    let crawler = match (words[0], count) {
        (b"metadump", 2) => LruCrawler::Metadump(scope(words[1])?),
        (b"mgdump", 2) => LruCrawler::Mgdump(scope(words[1])?),
        (b"crawl", 2) => LruCrawler::Crawl(scope(words[1])?),
        (b"tocrawl", 2) => LruCrawler::Tocrawl(short(words[1])?),
        (b"sleep", 2) => LruCrawler::Sleep(sleep(words[1])?),
        (b"enable", 1) => LruCrawler::Enable,
        (b"disable", 1) => LruCrawler::Disable,
        _ => return Err(Refusal::loud(UNKNOWN_COMMAND)),
    };
    Ok(Request::LruCrawler(crawler))
}

fn scope(word: &[u8]) -> Result<Scope<'_>, Refusal> {
    Scope::of(word).ok_or(Refusal::loud(BAD_CLASS))
}

/// A number, cut to 32 bits as memcached 1.6.18 cuts it.
fn short(word: &[u8]) -> Result<u32, Refusal> {
    token::u64(word).map(|number| number as u32).ok_or(Refusal::loud(BAD_FORMAT))
}

fn sleep(word: &[u8]) -> Result<u32, Refusal> {
    let micros = short(word)?;
    if u64::from(micros) > SLEEP_MICROS_MAX {
        return Err(Refusal::loud(SLEEP_TOO_LONG));
    }
    Ok(micros)
}

pub(crate) fn encode_crawler(crawler: &LruCrawler<'_>, out: &mut BytesMut) {
    let (name, argument): (&[u8], &[u8]) = match crawler {
        LruCrawler::Metadump(scope) => (b"metadump ", scope.word()),
        LruCrawler::Mgdump(scope) => (b"mgdump ", scope.word()),
        LruCrawler::Crawl(scope) => (b"crawl ", scope.word()),
        LruCrawler::Enable => (b"enable", b""),
        LruCrawler::Disable => (b"disable", b""),
        LruCrawler::Sleep(_) => (b"sleep ", b""),
        LruCrawler::Tocrawl(_) => (b"tocrawl ", b""),
    };
    out.extend_from_slice(b"lru_crawler ");
    out.extend_from_slice(name);
    out.extend_from_slice(argument);
    if let LruCrawler::Sleep(number) | LruCrawler::Tocrawl(number) = crawler {
        encode::unsigned(out, u64::from(*number));
    }
    out.extend_from_slice(b"\r\n");
}

/// `watch [<kind>]*`; `fetchers` when none is named.
pub(crate) fn decode_watch(mut text: &[u8]) -> Result<Request<'_>, Refusal> {
    let asks_for_silence = token::trim(text).rsplit(|byte| *byte == b' ').next() == Some(b"noreply");
    let mut kinds = WatchKinds::none();
    loop {
        let word = token::next_short(&mut text);
        if word.is_empty() {
            break;
        }
        match WatchKinds::named().find(|(name, _)| *name == word) {
            Some((_, kind)) => kinds = kinds.and(kind),
            // memcached says nothing either when the last word asks for that.
            None => return Err(Refusal::text(UNKNOWN_COMMAND, asks_for_silence)),
        }
    }
    let default = kinds == WatchKinds::none();
    Ok(Request::Watch(if default { WatchKinds::FETCHERS } else { kinds }))
}

pub(crate) fn encode_watch(kinds: WatchKinds, out: &mut BytesMut) {
    out.extend_from_slice(b"watch");
    for (name, _) in WatchKinds::named().filter(|(_, kind)| kinds.has(*kind)) {
        out.extend_from_slice(b" ");
        out.extend_from_slice(name);
    }
    out.extend_from_slice(b"\r\n");
}

/// `shutdown [graceful]`. Whether it is allowed comes before whether it is right, so a wrong mode is a request too.
pub(crate) fn decode_shutdown(text: &[u8]) -> Shutdown {
    match token::trim(text) {
        b"" => Shutdown::Now,
        b"graceful" => Shutdown::Graceful,
        _ => Shutdown::Invalid,
    }
}

/// How a server is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// `shutdown`: at once.
    Now,
    /// `shutdown graceful`: when what is in hand is done.
    Graceful,
    /// Another word. A server that allows the command answers
    /// [`INVALID_SHUTDOWN`](crate::error_lines::INVALID_SHUTDOWN).
    Invalid,
}

pub(crate) fn encode_shutdown(shutdown: Shutdown, out: &mut BytesMut) {
    out.extend_from_slice(match shutdown {
        Shutdown::Now => b"shutdown\r\n",
        Shutdown::Graceful => b"shutdown graceful\r\n",
        Shutdown::Invalid => b"shutdown ?\r\n",
    });
}

/// `config get cluster`
pub(crate) fn decode_config<'a>(text: &[u8]) -> Result<Request<'a>, Refusal> {
    match token::words::<2>(text) {
        ([b"get", b"cluster"], 2) => Ok(Request::ConfigGetCluster),
        _ => Err(Refusal::loud(UNKNOWN_COMMAND)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crawler(text: &str) -> Result<Request<'_>, &'static str> {
        decode_crawler(text.as_bytes()).map_err(|refusal| refusal.line)
    }

    #[test]
    fn scope_is_all_hash_or_classes() {
        let metadump = |scope| Ok(Request::LruCrawler(LruCrawler::Metadump(scope)));
        assert_eq!(crawler("metadump all"), metadump(Scope::All));
        assert_eq!(crawler(" metadump  hash "), metadump(Scope::Hash));
        assert_eq!(crawler("metadump 1,7,63"), metadump(Scope::Classes(b"1,7,63")));
        for bad in ["metadump 0", "metadump 64", "metadump x", "mgdump 1,x", "crawl ALL"] {
            assert_eq!(crawler(bad), Err(BAD_CLASS), "{bad}");
        }
        assert!(Scope::Classes(b"3,1").has(1) && !Scope::Classes(b"3,2").has(1) && Scope::All.has(1));
    }

    #[test]
    fn crawler_is_as_strict_as_memcached() {
        for bad in ["", "metadump", "metadump all x", "enable x", "foo", "foo bar", "sleep"] {
            assert_eq!(crawler(bad), Err(UNKNOWN_COMMAND), "{bad}");
        }
        assert_eq!(crawler("sleep 1000001"), Err(SLEEP_TOO_LONG));
        assert_eq!(crawler("sleep x"), Err(BAD_FORMAT));
        assert_eq!(crawler("tocrawl -1"), Err(BAD_FORMAT));
        assert_eq!(crawler("tocrawl 0"), Ok(Request::LruCrawler(LruCrawler::Tocrawl(0))));
    }

    #[test]
    fn watch_takes_known_kinds_and_fetchers_by_default() {
        let watch = |text: &'static str| decode_watch(text.as_bytes());
        assert_eq!(watch(""), Ok(Request::Watch(WatchKinds::FETCHERS)));
        let both = WatchKinds::MUTATIONS.and(WatchKinds::DELETIONS);
        assert_eq!(watch(" deletions  mutations "), Ok(Request::Watch(both)));
        assert_eq!(watch("fetchers nonsense"), Err(Refusal::loud(UNKNOWN_COMMAND)));
        for silent in ["fetchers noreply", "noreply", "foo noreply "] {
            assert!(watch(silent).is_err_and(|refusal| refusal.silent), "{silent}");
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let requests = [
            Request::LruCrawler(LruCrawler::Mgdump(Scope::Classes(b"1,2"))),
            Request::LruCrawler(LruCrawler::Disable),
            Request::LruCrawler(LruCrawler::Sleep(100)),
            Request::Watch(WatchKinds::EVICTIONS.and(WatchKinds::CONNEVENTS)),
            Request::Shutdown(Shutdown::Graceful),
            Request::Shutdown(Shutdown::Invalid),
            Request::ConfigGetCluster,
        ];
        for request in requests {
            let mut line = BytesMut::new();
            request.encode(&mut line);
            let decoded = crate::RequestDecoder::default().decode(&line).clone();
            let consumed = line.len();
            assert_eq!(decoded, crate::Decoded::Request { request, consumed });
        }
    }
}
