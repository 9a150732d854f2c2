//! Listeners: who is told what, and that nobody waits for them.

use std::sync::mpsc::{Receiver, Sender, channel};

use evanesce_client::{Event, LatchPolicy, Listener, Operation, OperationFinished, OperationOutcome};
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use crate::cluster::{Cluster, PATIENCE};

/// Hands on all that it is told.
struct Recorder {
    events: UnboundedSender<Event>,
    operations: bool,
}

impl Listener for Recorder {
    fn on_event(&self, event: &Event) {
        // The test may have ended.
        let _ = self.events.send(event.clone());
    }

    fn wants_operations(&self) -> bool {
        self.operations
    }
}

fn recorder(operations: bool) -> (Recorder, UnboundedReceiver<Event>) {
    let (events, heard) = unbounded_channel();
    (Recorder { events, operations }, heard)
}

async fn next(heard: &mut UnboundedReceiver<Event>) -> Event {
    timeout(PATIENCE, heard.recv()).await.expect("something is told").expect("the client lives")
}

async fn next_operation(heard: &mut UnboundedReceiver<Event>) -> OperationFinished {
    loop {
        if let Event::OperationFinished(operation) = next(heard).await {
            return operation;
        }
    }
}

#[tokio::test]
async fn listener_is_told_of_topologies_and_of_nodes_that_go_and_come() {
    let mut cluster = Cluster::start(&["a", "b"]).await;
    let (recorder, mut heard) = recorder(false);
    let cache = cluster.builder("a").listener(recorder).connect().await.expect("a list needs no discovery");
    let Event::TopologyAdopted { epoch, nodes, resized, .. } = next(&mut heard).await else { panic!() };
    assert_eq!((epoch, nodes, resized.len()), (1, 4, 0));
    cluster.kill_node("b", "n1").await;
    let Event::NodeIll { node, why, .. } = next(&mut heard).await else { panic!() };
    assert_eq!((node.zone.as_str(), node.group.as_str(), node.node.as_str()), ("b", "b", "n1"));
    assert!(!why.is_empty());
    cluster.start_node_again("b", "n1").await;
    let event = next(&mut heard).await;
    assert!(matches!(&event, Event::NodeWell { node: well, .. } if *well == node), "{event:?}");
    cache.replace_nodes(&cluster.only("a")).await.expect("a good list");
    let Event::TopologyAdopted { epoch, nodes, .. } = next(&mut heard).await else { panic!() };
    assert_eq!((epoch, nodes), (2, 2));
    cache.set("k", "v").await.expect("the zone is well");
    drop(cache);
    assert_eq!(heard.recv().await, None, "nothing is told of operations unless it is wanted");
}

#[tokio::test]
async fn listener_that_wants_operations_is_told_how_each_ended() {
    let cluster = Cluster::start(&["a"]).await;
    let (recorder, mut heard) = recorder(true);
    let cache = cluster.builder("a").listener(recorder).connect().await.expect("a list needs no discovery");
    let users = cache.namespace("user");
    let mut told = async || {
        let told = next_operation(&mut heard).await;
        (told.operation, told.namespace, told.keys, told.outcome)
    };
    let told_of = |operation, keys, outcome| (operation, "user".to_owned(), keys, outcome);
    _ = users.get("1").await;
    assert_eq!(told().await, told_of(Operation::Get, 1, OperationOutcome::Miss));
    _ = users.set("1", "v").await;
    assert_eq!(told().await, told_of(Operation::Set, 1, OperationOutcome::Done));
    _ = users.get("1").run().await;
    assert_eq!(told().await, told_of(Operation::Get, 1, OperationOutcome::Hit));
    _ = users.get_many(["1", "2"]).await;
    assert_eq!(told().await, told_of(Operation::GetMany, 2, OperationOutcome::Partial));
    _ = users.add("1", "v").await;
    assert_eq!(told().await, told_of(Operation::Add, 1, OperationOutcome::NotDone));
    _ = users.decr("1", 1).await;
    assert_eq!(told().await, told_of(Operation::Decrement, 1, OperationOutcome::NotDone));
    _ = users.get("").await;
    assert_eq!(told().await, told_of(Operation::Get, 1, OperationOutcome::Unusable));
    _ = users.delete_many(["1", "2", "3"]).await;
    assert_eq!(told().await, told_of(Operation::DeleteMany, 3, OperationOutcome::Done));
    let mut batch = cache.batch();
    let (get, set) = (batch.add(users.get("1")), batch.add(users.set("2", "v")));
    let mut answers = batch.await;
    _ = (answers.take(get), answers.take(set));
    assert_eq!(told().await, told_of(Operation::Set, 1, OperationOutcome::Done));
    assert_eq!(told().await, (Operation::Batch, String::new(), 1, OperationOutcome::Miss));
    _ = cache.get("user:2").await;
    assert_eq!(told().await, (Operation::Get, String::new(), 1, OperationOutcome::Hit));
    tokio::select! {
        biased;
        _ = users.get("2").run() => panic!("nobody can have answered yet"),
        () = std::future::ready(()) => {}
    }
    assert_eq!(told().await, told_of(Operation::Get, 1, OperationOutcome::Abandoned));
}

#[tokio::test]
async fn reads_that_nobody_answers_are_told_as_failed() {
    let mut cluster = Cluster::start(&["a"]).await;
    let (recorder, mut heard) = recorder(true);
    let cache = cluster.builder("a").listener(recorder).connect().await.expect("a list needs no discovery");
    cluster.kill("a").await;
    _ = cache.get("k").await;
    let told = next_operation(&mut heard).await;
    assert_eq!((told.operation, told.outcome), (Operation::Get, OperationOutcome::Failed));
    _ = cache.set("k", "v").await;
    assert_eq!(next_operation(&mut heard).await.outcome, OperationOutcome::Failed);
}

#[tokio::test]
async fn listener_is_told_whose_repairs_were_dropped() {
    let mut cluster = Cluster::start(&["a", "b"]).await;
    let (recorder, mut heard) = recorder(false);
    let builder = cluster.builder("a").listener(recorder).repair_queue_bytes(0);
    let cache = builder.connect().await.expect("a list needs no discovery");
    cluster.kill("b").await;
    let version = cache.set("k", "v").await.expect("its own zone is well").version;
    let dropped = loop {
        if let Event::RepairsDropped(dropped) = next(&mut heard).await {
            break dropped;
        }
    };
    assert_eq!((dropped.group.as_str(), dropped.count), ("b", 1));
    assert_eq!(Some(dropped.lowest), version);
}

/// Waits until the test has gone.
struct Stuck(Mutex<Receiver<()>>);

impl Listener for Stuck {
    fn on_event(&self, _: &Event) {
        let _ = self.0.lock().recv();
    }

    fn wants_operations(&self) -> bool {
        true
    }
}

/// Panics whatever it is told.
struct Panicking;

impl Listener for Panicking {
    fn on_event(&self, event: &Event) {
        panic!("told of {event:?}");
    }

    fn wants_operations(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn operations_wait_for_no_listener_whatever_it_does() {
    let cluster = Cluster::start(&["a"]).await;
    let (held, stuck) = channel();
    let stuck = Stuck(Mutex::new(stuck));
    let (recorder, mut heard) = recorder(true);
    let builder = cluster.builder("a").listener(stuck).listener(Panicking).listener(recorder);
    let cache = builder.connect().await.expect("a list needs no discovery");
    cache.set("k", "v").latch(LatchPolicy::All).await.expect("the zone is well");
    for _ in 0..5_000 {
        assert_eq!(cache.get("k").await, Ok(Some("v".into())));
    }
    drop(cache);
    let mut hits = 0;
    let mut missed = 0;
    while let Some(event) = heard.recv().await {
        match event {
            Event::OperationFinished(told) => hits += u64::from(told.outcome == OperationOutcome::Hit),
            Event::Missed { events, .. } => missed += events,
            _ => {}
        }
    }
    assert!(hits > 0 && hits + missed <= 5_001, "{hits} hits were told, {missed} events missed");
    drop::<Sender<()>>(held);
}
