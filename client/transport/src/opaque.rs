//! The opaque of a meta request: what ties a reply to it.

use evanesce_wire::limits::OPAQUE_BYTES_MAX;
use evanesce_wire::reply::Reply;
use evanesce_wire::request::{MetaFlags, Request};

use crate::error::{Unsupported, Violation};

/// A copy of a request's opaque, kept until its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opaque {
    length: u8,
    bytes: [u8; OPAQUE_BYTES_MAX],
}

impl Opaque {
    /// The opaque that `request` carries, if any.
    pub(crate) fn of(request: &Request<'_>) -> Result<Option<Self>, Unsupported> {
        let Some(flags) = meta_flags(request) else { return Ok(None) };
        // Our requests have it at their end.
        let last = flags.as_bytes().rsplit(|&byte| byte == b' ').next();
        let token = match last {
            Some([b'O', token @ ..]) => Some(token),
            _ => flags.get(b'O'),
        };
        token.map(Self::copy).transpose()
    }

    /// Checks that `reply` answers the request this opaque is of. Error lines carry none.
    pub(crate) fn check(&self, reply: &Reply) -> Result<(), Violation> {
        match reply {
            Reply::Error(_) => Ok(()),
            Reply::Meta(meta) if self.ends(&meta.flags) => Ok(()),
            Reply::Meta(meta) if meta.opaque() == Some(self.as_bytes()) => Ok(()),
            _ => Err(Violation::WrongOpaque),
        }
    }

    /// Whether it is the last of these flags: where it is in replies to our requests.
    fn ends(&self, flags: &[u8]) -> bool {
        let before = flags.strip_suffix(self.as_bytes());
        before.is_some_and(|before| before == b"O" || before.ends_with(b" O"))
    }

    fn copy(token: &[u8]) -> Result<Self, Unsupported> {
        let mut bytes = [0; OPAQUE_BYTES_MAX];
        bytes.get_mut(..token.len()).ok_or(Unsupported::OpaqueTooLong)?.copy_from_slice(token);
        Ok(Self { length: token.len() as u8, bytes })
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

fn meta_flags<'a>(request: &Request<'a>) -> Option<MetaFlags<'a>> {
    match request {
        Request::MetaGet(get) => Some(get.flags),
        Request::MetaSet(set) => Some(set.flags),
        Request::MetaDelete(delete) => Some(delete.flags),
        Request::MetaArithmetic(arithmetic) => Some(arithmetic.flags),
        _ => None,
    }
}
