//! `lru_crawler`: the key listings, and words that have nothing to do here.

use evanesce_store::{Expiry, Walked};
use evanesce_wire::dump::{self, ListedItem};
use evanesce_wire::encode;
use evanesce_wire::reply::Status;
use evanesce_wire::request::{LruCrawler, Request};

use super::{CLASS, Context, hidden};

/// How keys are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Metadump,
    Mgdump,
}

/// A listing under way. A step goes through one small range of the keys' hashes, so between steps the caller may flush
/// and let others go first; an item that is there all the time is listed exactly once. What is hidden is not listed.
pub(crate) struct Listing {
    form: Form,
    /// Where the walk goes on; `None` when it is at its end.
    next: Option<u64>,
    begun: bool,
}

impl Listing {
    /// The listing that a request asks for, if it does.
    pub(crate) fn of(request: &Request<'_>) -> Option<Listing> {
        let (form, scope) = match request {
            Request::LruCrawler(LruCrawler::Metadump(scope)) => (Form::Metadump, scope),
            Request::LruCrawler(LruCrawler::Mgdump(scope)) => (Form::Mgdump, scope),
            _ => return None,
        };
        // Nothing is in another class.
        let next = scope.has(CLASS.into()).then_some(0);
        Some(Listing { form, next, begun: false })
    }

    /// Appends what one step brings; false when it was the last.
    pub(crate) fn step(&mut self, context: &Context<'_>, out: &mut Vec<u8>) -> bool {
        if !std::mem::replace(&mut self.begun, true) && self.form == Form::Mgdump {
            dump::mgdump_start(out);
        }
        if let Some(from) = self.next {
            self.next = context.store.walk(from, context.now, |walked| match self.form {
                _ if hidden::is_hidden(walked.hit.version, context) => {}
                Form::Metadump => dump::metadump_line(out, walked.key, &listed(walked)),
                Form::Mgdump => dump::mgdump_line(out, walked.key),
            });
        }
        if self.next.is_none() {
            match self.form {
                Form::Metadump => encode::end(out),
                Form::Mgdump => dump::mgdump_end(out),
            }
        }
        self.next.is_some()
    }
}

fn listed(walked: &Walked<'_>) -> ListedItem {
    let hit = &walked.hit;
    ListedItem {
        expires_at_secs: match hit.expiry {
            Expiry::Never => None,
            Expiry::At(at) => Some(at.0 / 1000),
        },
        last_access_secs: hit.last_access.0 / 1000,
        cas: hit.cas,
        hit_before: hit.hit_before,
        class: CLASS,
        size_bytes: walked.key.len() + hit.value.len(),
    }
}

/// Answers `lru_crawler`, a listing in one go.
pub(super) fn execute(request: &Request<'_>, context: &Context<'_>, out: &mut Vec<u8>) {
    match Listing::of(request) {
        Some(mut listing) => while listing.step(context, out) {},
        // Expired items are looked for by a pace of the node's own, which nobody needs to start, stop or tune.
        None => encode::status(out, Status::Ok),
    }
}
