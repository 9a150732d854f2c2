use std::io::ErrorKind;

use evanesce_wire::MetaFlagsBuf;
use evanesce_wire::reply::Reply;
use evanesce_wire::request::{Get, Keys, MetaDelete, MetaFlags, MetaKey};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::completion::Completion;

struct Nobody;

impl Completion for Nobody {
    fn complete(&self, _token: usize, _outcome: Result<Reply, TransportError>) {}
}

/// Submits an `md`, as somebody who wants to know in any case.
fn submit(shared: &Shared, token: usize) {
    let flags = MetaFlagsBuf::new().number(b'O', 1);
    let request = delete(flags.as_flags());
    shared.submit(&request, Target::Owned(Arc::new(Nobody)), token).expect("there is room");
}

fn delete(flags: MetaFlags<'_>) -> Request<'_> {
    Request::MetaDelete(MetaDelete {
        key: MetaKey { bytes: b"k".into(), base64: false },
        flags,
        compare: None,
        cas_override: None,
        invalidate: false,
        touch: None,
        drop_value: false,
        version: None,
        quiet: false,
    })
}

/// A pair of connected sockets, of which the first is ready to be written to.
async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
    let ours = ours.expect("the listener is there");
    ours.writable().await.expect("it is new");
    (ours, theirs.expect("it has just connected").0)
}

/// What was seen in review: a request that a caller wrote itself, and that the session had not taken when the
/// connection ended, failed as never sent. An `add` then went to the next zone, and two zones could store it.
#[tokio::test]
async fn request_written_inline_is_abandoned_as_written() {
    let (ours, theirs) = sockets().await;
    let shared = Shared::new(theirs.local_addr().expect("bound"), ConnectionOptions::default());
    let (_reader, writer) = ours.into_split();
    shared.set_up(Some(Arc::new(writer)), Greeting { versions: true, clock_ms: None, settles_until: None });
    assert!(shared.versions.load(Ordering::Acquire));
    submit(&shared, 7);
    submit(&shared, 8);
    assert_eq!(&shared.inner.lock().out[..], b"md k O1\r\n", "the second waits for the session");
    let abandoned = shared.set_down(Instant::now(), Cause::Io(ErrorKind::ConnectionReset).into());
    assert!(!shared.versions.load(Ordering::Acquire));
    assert_eq!(tokens(&abandoned.written), [7]);
    assert_eq!(tokens(&abandoned.unwritten), [8]);
}

#[tokio::test]
async fn batch_on_an_idle_connection_goes_out_in_one_write() {
    let (ours, mut theirs) = sockets().await;
    let shared = Shared::new(theirs.local_addr().expect("bound"), ConnectionOptions::default());
    let (_reader, writer) = ours.into_split();
    shared.set_up(Some(Arc::new(writer)), Greeting { versions: true, clock_ms: None, settles_until: None });
    let flags = MetaFlagsBuf::new().number(b'O', 1);
    let batch = [(); 3].map(|()| delete(flags.as_flags()));
    let refused = shared.submit_batch(&batch, || Target::Owned(Arc::new(Nobody)));
    assert_eq!(refused, []);
    assert!(shared.inner.lock().out.is_empty());
    submit(&shared, 7);
    let abandoned = shared.set_down(Instant::now(), Cause::Io(ErrorKind::ConnectionReset).into());
    assert_eq!(tokens(&abandoned.written), [0, 1, 2]);
    assert_eq!(tokens(&abandoned.unwritten), [7]);
    let mut written = [0; 64];
    let length = theirs.read(&mut written).await.expect("it was written");
    assert_eq!(&written[..length], b"md k O1\r\nmd k O1\r\nmd k O1\r\n");
}

#[tokio::test]
async fn request_after_replies_that_came_together_waits_for_others() {
    let (ours, theirs) = sockets().await;
    let shared = Shared::new(theirs.local_addr().expect("bound"), ConnectionOptions::default());
    let (_reader, writer) = ours.into_split();
    shared.set_up(Some(Arc::new(writer)), Greeting { versions: true, clock_ms: None, settles_until: None });
    shared.inner.lock().crowded = true;
    submit(&shared, 7);
    assert_eq!(&shared.inner.lock().out[..], b"md k O1\r\n");
}

fn tokens(requests: &VecDeque<Pending>) -> Vec<usize> {
    requests.iter().map(|pending| pending.token).collect()
}

#[tokio::test]
async fn request_that_waited_for_a_connection_is_abandoned_as_unwritten() {
    let (_ours, theirs) = sockets().await;
    let shared = Shared::new(theirs.local_addr().expect("bound"), ConnectionOptions::default());
    submit(&shared, 7);
    let abandoned = shared.set_down(Instant::now(), Cause::Io(ErrorKind::ConnectionRefused).into());
    assert!(abandoned.written.is_empty());
    assert_eq!(abandoned.unwritten.len(), 1);
}

const OURS: Greeting = Greeting { versions: true, clock_ms: None, settles_until: None };

fn get() -> Request<'static> {
    Request::Get(Get { keys: Keys::new(b"k").expect("a good key"), with_cas: false, touch: None })
}

#[test]
fn changes_count_from_their_acceptance_to_their_answer() {
    let shared = Shared::new("127.0.0.1:1".parse().expect("an address"), ConnectionOptions::default());
    assert!(!shared.is_caught_up(), "there is no connection");
    shared.set_up(None, OURS);
    assert!(shared.is_caught_up());
    shared.submit(&get(), Target::Owned(Arc::new(Nobody)), 0).expect("there is room");
    assert!(shared.is_caught_up(), "a question changes nothing");
    submit(&shared, 1);
    let flags = MetaFlagsBuf::new().number(b'O', 1);
    let batch = [get(), delete(flags.as_flags())];
    assert_eq!(shared.submit_batch(&batch, || Target::Owned(Arc::new(Nobody))), []);
    let sent: Vec<Pending> = shared.inner.lock().queued.drain(..).collect();
    let (first, rest) = sent.split_at(2);
    shared.answered(first.iter());
    assert!(!shared.is_caught_up(), "one of two is answered");
    shared.answered(rest.iter());
    assert!(shared.is_caught_up());
}

#[test]
fn changes_that_were_lost_with_a_connection_count_no_more_on_the_next() {
    let shared = Shared::new("127.0.0.1:1".parse().expect("an address"), ConnectionOptions::default());
    shared.set_up(None, OURS);
    submit(&shared, 1);
    let abandoned = shared.set_down(Instant::now(), Cause::Io(ErrorKind::ConnectionReset).into());
    assert_eq!(abandoned.unwritten.len(), 1);
    assert!(!shared.is_caught_up(), "there is no connection");
    shared.set_up(None, OURS);
    assert!(shared.is_caught_up());
}

#[test]
fn changes_that_nobody_waits_for_any_more_are_not_sent_and_do_not_count() {
    let shared = Shared::new("127.0.0.1:1".parse().expect("an address"), ConnectionOptions::default());
    let flags = MetaFlagsBuf::new().number(b'O', 1);
    let caller: Arc<dyn Completion> = Arc::new(Nobody);
    shared.submit(&delete(flags.as_flags()), Target::Caller(Arc::downgrade(&caller)), 0).expect("room");
    drop(caller);
    shared.set_up(None, OURS);
    assert!(shared.is_caught_up());
    submit(&shared, 1);
    assert!(!shared.is_caught_up());
}
