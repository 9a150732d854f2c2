//! Who is told what happens in a client.

mod lookout;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tracing::error;

pub(crate) use lookout::look_out;

use crate::error::ConnectError;
use crate::observe::OperationFinished;
use crate::repair::RepairsDropped;

/// Events that wait for a listener: seconds of a quiet client's, and a few hundred KiB of a busy one's.
const EVENTS_QUEUED_MAX: usize = 4096;

/// Is told what happens in a client: for a log, an alarm, or figures of one's own.
///
/// It is called from a thread of its own, one event after the other, and may take its time: nobody waits for it. When
/// too many events wait the newer ones are dropped, and it is told how many ([`Event::Missed`]). A listener that panics
/// is not called again; the log says so, and nothing else happens. (With `panic = "abort"` the process ends, as always.)
/// The thread ends when the client has gone and the last event has been told.
///
/// ```no_run
/// use evanesce_client::{Client, Event, Listener};
///
/// struct Log;
///
/// impl Listener for Log {
///     fn on_event(&self, event: &Event) {
///         match event {
///             Event::NodeIll { node, why, .. } => println!("{}/{} is ill: {why}", node.group, node.node),
///             Event::NodeWell { node, .. } => println!("{}/{} is well", node.group, node.node),
///             other => println!("{other:?}"),
///         }
///     }
/// }
///
/// let builder = Client::builder("HOME").listener(Log);
/// # _ = builder;
/// ```
pub trait Listener: Send + Sync + 'static {
    /// Something happened.
    fn on_event(&self, event: &Event);

    /// Whether it is told of each operation, too ([`Event::OperationFinished`]). Asked once. Default not: it costs each
    /// operation some microseconds.
    fn wants_operations(&self) -> bool {
        false
    }
}

/// What happens in a client.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A topology is in force.
    #[non_exhaustive]
    TopologyAdopted {
        /// Its number.
        epoch: u64,
        /// How many nodes it has, on whichever ring.
        nodes: usize,
        /// The server groups with two rings in force.
        resized: Vec<String>,
    },
    /// A node does not answer, or cannot be reached: reads go elsewhere, and writes are kept for it. What lasts less than
    /// a tenth of a second may go untold.
    #[non_exhaustive]
    NodeIll {
        /// Which.
        node: NodeName,
        /// Why, in words.
        why: String,
    },
    /// A node that was ill is used again.
    #[non_exhaustive]
    NodeWell {
        /// Which.
        node: NodeName,
    },
    /// Writes that a node has missed were given up for lack of room: as many since this was told last, and the lowest
    /// version of all that were given up.
    RepairsDropped(RepairsDropped),
    /// An operation ended. Only for a listener that [wants](Listener::wants_operations) to be told.
    OperationFinished(OperationFinished),
    /// The listener was too slow, and was not told of so many events that came before this one.
    #[non_exhaustive]
    Missed {
        /// How many.
        events: u64,
    },
}

/// A node in its place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct NodeName {
    /// Its zone.
    pub zone: String,
    /// Its server group.
    pub group: String,
    /// Its ring name.
    pub node: String,
}

/// The listeners of a client.
#[derive(Default)]
pub(crate) struct Events {
    ears: Vec<Ear>,
    operations: bool,
}

/// One listener's end.
struct Ear {
    queue: Sender<Event>,
    missed: Arc<AtomicU64>,
    operations: bool,
}

impl Events {
    /// Starts a thread for each listener.
    pub(crate) fn start(listeners: &[Arc<dyn Listener>]) -> Result<Self, ConnectError> {
        let ears = listeners.iter().map(Ear::start).collect::<io::Result<Vec<Ear>>>();
        let ears = ears.map_err(|error| ConnectError::Listener { reason: error.to_string() })?;
        let operations = ears.iter().any(|ear| ear.operations);
        Ok(Self { ears, operations })
    }

    pub(crate) fn is_used(&self) -> bool {
        !self.ears.is_empty()
    }

    /// Whether anybody is to be told of operations.
    pub(crate) fn wants_operations(&self) -> bool {
        self.operations
    }

    /// Tells all who want to know. Never waits.
    pub(crate) fn tell(&self, event: &Event) {
        let is_operation = matches!(event, Event::OperationFinished(_));
        for ear in self.ears.iter().filter(|ear| ear.operations || !is_operation) {
            if let Err(TrySendError::Full(_)) = ear.queue.try_send(event.clone()) {
                ear.missed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Ear {
    fn start(listener: &Arc<dyn Listener>) -> io::Result<Self> {
        let (queue, events) = channel(EVENTS_QUEUED_MAX);
        let missed = Arc::<AtomicU64>::default();
        let operations = listener.wants_operations();
        let (listener, counted) = (Arc::clone(listener), Arc::clone(&missed));
        let thread = thread::Builder::new().name("evanesce-listener".to_owned());
        thread.spawn(move || listen(&*listener, events, &counted))?;
        Ok(Self { queue, missed, operations })
    }
}

/// Ends with the client, or with a listener that panics.
fn listen(listener: &dyn Listener, mut events: Receiver<Event>, missed: &AtomicU64) {
    while let Some(event) = events.blocking_recv() {
        let missed = missed.swap(0, Ordering::Relaxed);
        let told = catch_unwind(AssertUnwindSafe(|| {
            if missed > 0 {
                listener.on_event(&Event::Missed { events: missed });
            }
            listener.on_event(&event);
        }));
        if told.is_err() {
            error!("a listener panicked: it is not called again");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

    use super::*;

    /// Hands on what it hears, and waits for a permit before each event.
    struct Recorder {
        heard: UnboundedSender<Event>,
        permits: Mutex<std::sync::mpsc::Receiver<()>>,
    }

    impl Listener for Recorder {
        fn on_event(&self, event: &Event) {
            let _ = self.permits.lock().recv();
            assert!(!matches!(event, Event::TopologyAdopted { epoch: 13, .. }), "bad luck");
            let _ = self.heard.send(event.clone());
        }
    }

    fn recorder() -> (Events, UnboundedReceiver<Event>, std::sync::mpsc::Sender<()>) {
        let (heard, hears) = unbounded_channel();
        let (permit, permits) = std::sync::mpsc::channel();
        let recorder: Arc<dyn Listener> = Arc::new(Recorder { heard, permits: Mutex::new(permits) });
        (Events::start(&[recorder]).expect("a thread"), hears, permit)
    }

    fn adopted(epoch: u64) -> Event {
        Event::TopologyAdopted { epoch, nodes: 1, resized: Vec::new() }
    }

    #[test]
    fn events_are_told_in_their_order_and_to_the_end() {
        let (events, mut hears, permits) = recorder();
        drop(permits);
        (1..=9).for_each(|epoch| events.tell(&adopted(epoch)));
        drop(events);
        for epoch in 1..=9 {
            assert_eq!(hears.blocking_recv(), Some(adopted(epoch)));
        }
        assert_eq!(hears.blocking_recv(), None, "its thread ends with the client");
    }

    #[test]
    fn listener_that_is_too_slow_is_told_how_much_it_missed() {
        let (events, mut hears, permits) = recorder();
        let most = EVENTS_QUEUED_MAX as u64;
        (1_000..1_000 + 2 * most).for_each(|epoch| events.tell(&adopted(epoch)));
        drop(permits);
        let mut told = 0;
        let mut missed = 0;
        drop(events);
        while let Some(event) = hears.blocking_recv() {
            match event {
                Event::Missed { events } => missed += events,
                _ => told += 1,
            }
        }
        // Those that were dropped after the last one told are never mentioned.
        assert!(told >= most && told + missed <= 2 * most, "{told} told, {missed} missed");
        assert!(missed > 0, "the first was told before, or while, others were dropped");
    }

    #[test]
    fn panic_of_a_listener_is_contained_and_its_last() {
        let (events, mut hears, permits) = recorder();
        drop(permits);
        [12, 13, 14].iter().for_each(|epoch| events.tell(&adopted(*epoch)));
        assert_eq!(hears.blocking_recv(), Some(adopted(12)));
        assert_eq!(hears.blocking_recv(), None);
        events.tell(&adopted(15));
    }
}
