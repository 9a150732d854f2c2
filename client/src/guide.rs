//! How to use the client well: what to choose, what to expect, what to look at when it goes wrong.
//!
//! The programs of this guide are in the repository, one file a question: `home_page` (a page from several namespaces),
//! `sessions` (sliding TTL), `similarity` (a batch job publishes), `counters` (and `MaybeApplied`), `read_through` (a slow
//! database). `cargo run -p evanesce-client --example home_page` starts its own nodes and kills some of them.
//!
//! # Setting up
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use evanesce_client::{Client, LatchPolicy, Typed};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct User {
//!     name: String,
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! # #[cfg(feature = "discovery")]
//! # {
//! let cache = Client::builder("HOME")
//!     .discovery(["http://disc-a:11300", "http://disc-b:11300"]) // nearest first
//!     .zone("a") // where this process runs: it is read first
//!     .topology_file("/var/lib/shop/HOME.topology") // to start with while no discovery answers
//!     .connect()
//!     .await?;
//! let users: Typed<User> = cache.namespace("user").ttl(Duration::from_secs(900)).typed();
//! let sessions = cache.namespace("session").latch(LatchPolicy::Quorum);
//! # _ = (users, sessions);
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! - One [`Client`](crate::Client) a process: it is cheap to clone, and its budgets and breakers learn from all of its
//!   traffic. It keeps one connection to each node.
//! - Say the zone. Without it the first by name is read, from wherever you are.
//! - A [`Namespace`](crate::Namespace) is a key prefix (`user:`) with defaults of its own. Nodes can guarantee and limit
//!   memory by it, and an operator can flush it. Put the version of a type into it (`user-v2`): postcard, the default
//!   codec, does not describe itself.
//! - Values of any size up to 64 MiB, under keys of up to 8 KiB: the client compresses, splits and hashes. Each megabyte is four
//!   more reads and as many chances to be evicted, so give such a namespace longer timeouts, and think of an object store.
//! - Before the process ends, [`Client::close_within`](crate::Client::close_within) waits for what has no answer yet, hands over
//!   what it can of the writes that some zone has missed, and tells what is left: log it.
//!
//! # What to choose
//!
//! | for | TTL | latch | and |
//! |---|---|---|---|
//! | copies of rows | how old a row may be if its delete is lost: minutes | `Local` | `get_or_load`, `stale`, `absent_ttl` |
//! | sessions, carts | how long a user may be idle | `Quorum` | `get_and_touch` |
//! | what a batch job computed | two runs and more | `Quorum` | `set_many`, the job's version in the namespace |
//! | deletes after a change of the source | | `Local`, or `All` where readers elsewhere must see it at once | |
//! | counters | as long as they count | `Local` | `incr` with `initial` |
//!
//! **Latch**: how many zones must have acknowledged before a write returns. All zones are written whatever it is; it is
//! what the caller waits for, and what is known to survive. `Local` (default) survives the loss of other zones, and
//! readers of this one see it. `Quorum` survives any one of three. `All` fails while one zone is away: use it for what
//! must not be served anywhere afterwards, and know what you do when it fails. `None` returns at once and says nothing.
//!
//! **TTL**: the client computes one absolute expiry, rounded up to a second; an item never expires early. It is the
//! longest for which anything stale can live, so choose it even where you delete. [`Ttl::Never`](crate::Ttl::Never) still
//! means "until evicted".
//!
//! **Stale** ([`GetOrLoad::stale`](crate::op::GetOrLoad::stale)): for how long beyond its TTL an item is served while
//! one caller loads it anew. Give it wherever old is better than late; a multiple of the load time at least, hours where
//! the source may be down. All readers of a key should say the same.
//!
//! # What an outcome means
//!
//! | outcome | it means | what to do |
//! |---|---|---|
//! | `Ok(None)` | a node said that it does not have the key | compute or load it |
//! | [`ReadError::Unanswered`](crate::ReadError::Unanswered) | no zone could answer in time; who was asked and why is in it | go without: a source that is asked for all that fails takes the whole load of the cache |
//! | `misses`, `failed` of [`GetMany`](crate::GetMany) | the same two, by key | the same, by key |
//! | [`Written`](crate::Written) | the latch is met; `failed` and `pending` zones get it later | nothing |
//! | [`Written::superseded_by`](crate::Written::superseded_by) | a newer write or delete was there; it stays, everywhere | nothing: as if the other had come right after |
//! | [`WriteError::NotAcknowledged`](crate::WriteError::NotAcknowledged) | too few zones; what acknowledged has it, and the others may get it | again if `may_retry()`: not what was `decided` and counted already |
//! | [`WriteError::MaybeApplied`](crate::WriteError::MaybeApplied) | `add`, `incr`, `append`...: the zone that decides did not answer, or another decided at the same time | read it with `get_for_cas`, which asks that zone; never just again |
//! | `NotStored`, `Exists`, `NotFound` | the home zone decided against it | as your program wants |
//! | `hits`, `absent`, `failed` of [`LoadMany`](crate::LoadMany) | there or loaded; known to have no value; not loaded | by key |
//! | [`LoadError`](crate::LoadError) | what the loader said, or that it took too long | the source is ill, not the cache |
//!
//! Every error tells whose fault it is (`fault()`) and whether to retry (`may_retry()`). Its text tells of three nodes at most, its
//! fields of all. [`GetMany::in_order_of`](crate::GetMany::in_order_of) gives what was found in the order of the keys, and
//! [`WriteMany::retryable`](crate::WriteMany::retryable) the keys that may be sent again. Where the age or version of a value
//! matters, [`Typed::get_item`](crate::Typed::get_item) tells it, and [`get_number`](crate::Namespace::get_number) reads a
//! counter.
//! [`WriteError::maybe_applied`](crate::WriteError::maybe_applied) tells whether any zone may have it all the same.
//!
//! ```no_run
//! # use evanesce_client::{Namespace, ReadError};
//! # async fn example(rows: &Namespace) -> Result<(), ReadError> {
//! let found = rows.get_many(["drama", "comedy", "crime"]).await?; // an error is a wrong key, or a closed client
//! for (key, row) in &found.hits {
//!     println!("show {key:?}: {} bytes", row.len());
//! }
//! for key in &found.misses {
//!     println!("compute {key:?}, and set it");
//! }
//! for (key, error) in &found.failed {
//!     println!("leave {key:?} out of the page: {error}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Pages over several namespaces
//!
//! [`Client::batch`](crate::Client::batch) collects operations of any namespaces, each with its own options, and sends them
//! together: a node is asked once for the keys of all of them, so that a page takes one round trip to its slowest node. Each
//! operation is exchanged for a handle, which gives the answer that the operation would have had alone, in its type.
//!
//! ```no_run
//! # use evanesce_client::{Client, Typed};
//! # async fn example(cache: &Client, users: &Typed<String>, rows: &Typed<Vec<u32>>) -> Result<(), Box<dyn std::error::Error>> {
//! let mut batch = cache.batch();
//! let user = batch.add(users.get("ada"));
//! let shown = batch.add(rows.get_many(["ada:new", "ada:drama"]));
//! let mut answers = batch.await;
//! let user = answers.take(user)?; // None is a miss; an error is of this read alone
//! let shown = answers.take(shown)?; // hits, misses and failed, by key
//! # _ = (user, shown);
//! # Ok(())
//! # }
//! ```
//!
//! Writes can be part of a batch, too, and so can reads that may load or write (`get_or_load`, `get_and_touch`, `get_for_cas`).
//! They go beside the reads, each with a request of its own, so do not read in a batch what it writes.
//!
//! Bulk reads, `get_many` and those of a batch, are **not hedged**: where one node stutters, a page waits for the attempt
//! timeout (20 ms) and then asks the next zone for what is missing. Lower `read_attempt_timeout` where pages must be
//! quicker than that; single reads are hedged, and so is a `get_many` of few keys that says
//! [`hedged`](crate::op::GetMany::hedged).
//!
//! # When a zone is lost
//!
//! - **Its processes die**: connections are refused, and each read goes to the next zone at once. Writes wait for nobody
//!   there: `Local` is met by any zone while the local one is down.
//! - **It freezes, or its network does**: a read waits for the attempt timeout (20 ms) and goes on elsewhere; hedges shorten
//!   that for some single reads. After 5 errors in a second a node's breaker opens, and nobody waits for it any more. It is
//!   probed with single reads after 100 ms, and then ever more rarely, down to every 5 s.
//! - **Meanwhile** the writes that it misses wait in this process, 64 MiB of them, the newest of each key. Other zones
//!   take its reads: have room for that.
//! - **It comes back with its memory**: what waits is sent to it as soon as it is found to be back, by an attempt to connect
//!   (some 1 s apart) or a probe. Until that is through this process asks it last for the keys it has missed; to processes that
//!   did not write them it may answer with what it had.
//! - **It comes back empty**: reads miss there, and up to 20 % of all reads are then asked in another zone and copied
//!   back, as long as that finds anything. The rest are misses to the caller: use `get_or_load`, and the source sees each
//!   key once.
//! - `add`, `incr` and the like move to the next zone in the key's order. A node that has just started, or stood still, leaves
//!   such decisions to others for some seconds.
//!
//! # When a zone is resized
//!
//! Keys that get another owner have two meanwhile: both are written, the old one is read and decides until the new one is
//! filled. With discovery the client learns of it by itself. With a list, say so yourself, to every client at each step, and
//! go on when all have it: [`StaticNodes`](crate::StaticNodes) takes two rings of a zone, and
//! [`Client::replace_nodes`](crate::Client::replace_nodes) another list. `a=n1/..>n1/..,n2/..` writes to what is to come,
//! too; `a=n1/..,n2/..<n1/..` reads it, once it is filled; `a=n1/..,n2/..` has done with what was before. A latch counts the
//! owner that is read; what the other misses is repaired. `owners` and the diagnostics tell who is written only.
//!
//! # Hot keys and herds
//!
//! A key that expires under load is a herd at its source. [`get_or_load`](crate::Typed::get_or_load) lets one caller of
//! all processes load it; with `stale` nobody even waits. A key that is read often is loaded anew by one of its readers
//! about a load time before it expires ([`early`](crate::op::GetOrLoad::early)). TTLs are shortened by up to a tenth at
//! random, so that what was loaded together does not expire together. `absent_ttl` remembers that there is nothing, which stops floods of
//! unknown ids.
//!
//! ```no_run
//! # use std::{io, time::Duration};
//! # use evanesce_client::{LoadError, Typed};
//! # async fn query(_: &[u8]) -> io::Result<Option<String>> { Ok(None) }
//! # async fn example(names: &Typed<String>) -> Result<(), LoadError> {
//! let name = names
//!     .get_or_load("42", |key| async move { query(&key).await })
//!     .ttl(Duration::from_secs(60))
//!     .stale(Duration::from_secs(600))
//!     .absent_ttl(Duration::from_secs(10))
//!     .load_timeout(Duration::from_secs(2))
//!     .await?;
//! # _ = name;
//! # Ok(())
//! # }
//! ```
//!
//! Where a page needs many keys of one kind, [`get_or_load_many`](crate::Typed::get_or_load_many) asks the source once for all
//! that are not there:
//!
//! ```no_run
//! # use std::{collections::HashMap, io};
//! # use evanesce_client::{LoadError, Typed};
//! # async fn query(_: &[bytes::Bytes]) -> io::Result<HashMap<String, String>> { Ok(HashMap::new()) }
//! # async fn example(names: &Typed<String>) -> Result<(), LoadError> {
//! let found = names
//!     .get_or_load_many(["42", "43", "44"], |keys| async move { query(&keys).await }) // a value for each that has one
//!     .remember_absent()
//!     .await?; // an error is a wrong key, or a closed client
//! for (key, name) in &found.hits {
//!     println!("show {key:?}: {name}");
//! }
//! println!("{} have no name, {} could not be loaded", found.absent.len(), found.failed.len());
//! # Ok(())
//! # }
//! ```
//!
//! Each key still has its own lease: what another process is loading is waited for, and not asked for again. A loader that fails
//! fails the keys it was called with, and no other.
//!
//! A loader that dies with its process holds its key up for `load_timeout` and two to three seconds more, so keep that
//! short. A key that is hot while it is there is one node's work in each zone, since each zone reads its own copy. If one
//! node is not enough, store it under several names and read a random one, or keep it near.
//!
//! # The near cache
//!
//! A namespace that is read far more often than it is written can keep what it reads in this process
//! ([`Namespace::near_cache`](crate::Namespace::near_cache), or
//! [`ClientBuilder::near_cache_of`](crate::ClientBuilder::near_cache_of) for all handles at once): a hit there asks no node.
//!
//! ```no_run
//! # #[cfg(feature = "near-cache")]
//! # async fn example(cache: &evanesce_client::Client) -> Result<(), evanesce_client::ReadError> {
//! use std::time::Duration;
//!
//! use evanesce_client::NearCache;
//!
//! let near = NearCache::new(32 << 20).ttl(Duration::from_secs(2)); // 32 MiB in this process
//! let titles = cache.namespace("title").near_cache(near).typed::<String>();
//! let shown = titles.get("42").await?; // up to 2 s old
//! let known = titles.get("42").skip_near_cache().await?; // as the nodes have it
//! # _ = (shown, known);
//! # Ok(())
//! # }
//! ```
//!
//! - **What it may do**: serve for up to its TTL what another process has written over, deleted or flushed, or a `flush_all` of
//!   this one that was to take effect later. Two processes may show different values for so long. So keep the TTL at what the
//!   reader of the page would not notice.
//! - **What it never does**: serve what this client, through any handle of it, has written over or flushed: a write
//!   invalidates when it ends, however it ends, and a read that began before it keeps nothing. Nor what has expired on the
//!   nodes: items in their last second are not kept.
//! - Misses are not kept, but what `get_or_load` remembers as absent is.
//! - Values are kept whole, as bytes: not compressed, and decoded for each read. One larger than an eighth of the near cache is
//!   not kept. Each process has its own: a hundred of 1 GiB are 100 GiB.
//! - `get_item` tells what was read: its TTL is counted down, its CAS token is as old as the rest. `get_for_cas`,
//!   `get_and_touch` and `get_at_home` ask the nodes.
//! - The first to ask for a namespace's near cache says how large it is and how long it serves. A key belongs to its namespace's
//!   also through [`Client`](crate::Client) or [`Client::raw`](crate::Client::raw).
//! - `evanesce_client_near_cache_reads_total` tells whether it pays: below one hit in two, it is memory and work for little.
//!
//! # Batch jobs
//!
//! [`set_many`](crate::Typed::set_many) and [`delete_many`](crate::Typed::delete_many) keep 256 keys under way
//! ([`in_flight`](crate::op::WriteMany::in_flight)), each until all zones that are well have answered, whatever the latch, so
//! that others get through; two jobs at once take twice the room. Hand over some thousands at a time: all of a call is encoded
//! before the first is sent. The outcome has each key in `written` or `failed`, and tells which of those may be sent again. Publish under
//! a new namespace and let readers change over, rather than over what they read: half of a new model is worse than all of
//! the old one. A job that outruns the nodes sees latches not met in time among the `failed`: give it more time, or send less.
//!
//! # Servers and clients of others
//!
//! The client works with memcached (1.6.18 and newer are tested), in a static list or beside our own nodes. Such a server
//! keeps no versions, so there is no repair, a late write may undo a newer one, and in `get_or_load` a delete during the
//! load does not win. All else is the same.
//!
//! Other clients may share the cluster. They must place keys the same way: with the gateway they need not, Netflix's
//! Java client does with the ring profile `evcache` ([`RingProfile::EVCACHE`](crate::RingProfile::EVCACHE)). What they
//! should read, store as bytes below 1 MiB, from [`Client::raw`](crate::Client::raw) or a namespace: typed values are
//! postcard, large ones compressed and split, all of it marked in the flags. A write of theirs is stamped by each node by itself: of two such writes to several zones each zone
//! may keep another.
//!
//! # What is guaranteed, and what is not
//!
//! Guaranteed, for this client and the gateway, on nodes that keep versions:
//!
//! - Reads do not fail while one zone that has the key's range answers in time.
//! - An acknowledged write is in as many zones as its latch says.
//! - Of two writes of a key the one with the larger version stays, in every zone that gets both, in whatever order they come.
//!   A delete is a write: nothing older undoes it while a node remembers it, and what is older than all a node
//!   remembers is not taken as a repair.
//! - A counter, `add`, `append` or `compare_and_set` is decided by one zone, and never sent twice. It is acknowledged once more
//!   than half of all zones have agreed to it, and is not lost then, whoever is cut off from whichever zones; what
//!   may be lost ends as `MaybeApplied`. Where more than half of the zones are out of reach nothing is decided: that is a
//!   `NotAcknowledged` of which `maybe_applied()` is false. An outcome waits for every zone that is well, whatever the latch,
//!   unless that is `None`: while one has just frozen, until its breaker opens or its connection is given up, a second
//!   later, that may end as `NotAcknowledged`.
//! - Memory is bounded: queues, repairs, loads under way, replies.
//!
//! Not guaranteed:
//!
//! - That any item is still there: this is a cache. Nodes evict, die and are flushed.
//! - That two zones are equal at any moment, or that a read sees a write made in another zone.
//! - That a zone is up to date as soon as it is reached again: whoever wrote meanwhile finds it within a second or two, and
//!   gives it what it missed then. A node that says that it has just started, or did not run, when it is connected to
//!   is read last for five seconds; one that was cut off does not know of it.
//! - Order by cause across keys, transactions, or atomic writes of several keys.
//! - That clocks do not matter: of two writes in different processes within their clocks' difference, either may win. This
//!   machine's clock is set right by the nodes' from half a second on; a write more than 5 s ahead is refused.
//! - That a zone which missed a write gets it if this process ends first, or its queue overflows: what is lost so
//!   stays until the next write, a read of a miss, or the TTL.
//! - That counters and `add` are exact where a zone comes back empty while another is out of reach, or, of two zones in all,
//!   while clients see one each: one of two goes on alone.
//!
//! # Tuning
//!
//! The defaults are for nodes in the same region on machines that are not overbooked. All are in the table of the
//! [crate documentation](crate).
//!
//! | if | then | at the price of |
//! |---|---|---|
//! | reads time out though nodes are well: zones far apart, values of megabytes | raise `read_attempt_timeout` and `read_timeout`, per read by `timeout` | waiting longer for a node that is frozen |
//! | callers have deadlines of their own | hand them on by `deadline`: no operation outlasts it, and a write that is too late for it is not sent | |
//! | a miss is no loss, or the caller asks elsewhere itself | `no_fallback` of that read | it does not find what another zone has |
//! | p99 of single reads is far above p95, one node is slow now and then | `hedge(0.05)` | load in another zone |
//! | traffic across zones is dear | `hedge(0.0)`, `miss_fallback(0.0)` | a slow or empty zone is felt |
//! | zones are often away for long, and memory is there | raise `repair_queue_bytes` | memory of this process |
//! | writes must be quicker than the local zone | latch `One` or `None` | what is known to survive |
//! | a burst is refused: `the queue to ... is full` | fewer at once; `ConnectionOptions::queue_max` only then | latency behind the queue |
//!
//! # When something is wrong
//!
//! Log [`Client::diagnostics`](crate::Client::diagnostics), or serve it from a debug page: it has no keys, values or
//! secrets. `Display` is for people, serde for machines.
//!
//! ```no_run
//! # use evanesce_client::Client;
//! # fn example(cache: &Client) -> Result<(), Box<dyn std::error::Error>> {
//! let known = cache.diagnostics();
//! println!("{known}");
//! for node in known.nodes.iter().filter(|node| node.breaker_open || node.failure.is_some()) {
//!     println!("look at {} in zone {}: {:?}", node.node, node.zone, node.failure);
//! }
//! for owner in cache.owners("user:42")? {
//!     println!("user:42 is on {} at {} ({:?})", owner.node, owner.address, owner.connection);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | you see | it may be | look at |
//! |---|---|---|
//! | everything misses | the namespace or the ring profile differs from the writer's; a flush; TTLs too short | `owners` here and `evanesce ctl where` there must agree |
//! | all reads are slow, none fail | the wrong zone, or none: reads cross zones | `zones` of the diagnostics: the first is read |
//! | `no connection`, with a reason | the node is down, wants TLS or a password, has another certificate | `failure` of the node |
//! | one node's breaker is open | it answers late or not at all | its `p95`, `outstanding`; the machine |
//! | `it is slow, and as many requests as it bears are under way` | overload | `reads_limit` of the node; add nodes, or spread a hot key |
//! | values come back after a delete | a zone missed it, and who deleted has ended; a foreign client wrote late | `repairs_pending`, `repairs_dropped`; latch of deletes |
//! | `clock_correction_ms` is not 0 | this machine's clock is wrong | its time service |
//! | `its clock is more than 5 s behind the write's` | a node's clock is wrong | that machine's |
//! | the epoch stands still while nodes change | discovery is away; the client goes on with what it has | `evanesce ctl status` |
//!
//! **As it happens**: a [`Listener`](crate::Listener), given to the builder, is told when a topology is adopted, when a node
//! becomes ill and well again, when missed writes are given up, and, if it asks for that, how each operation ended. It runs on
//! a thread of its own: nobody waits for it, and when it is too slow it is told how much it missed.
//!
//! ```
//! use evanesce_client::{Client, Event, Listener, OperationOutcome};
//!
//! struct Alarm;
//!
//! impl Listener for Alarm {
//!     fn on_event(&self, event: &Event) {
//!         match event {
//!             Event::NodeIll { node, why, .. } => eprintln!("{} in zone {} is ill: {why}", node.node, node.zone),
//!             Event::OperationFinished(told) if told.outcome == OperationOutcome::Failed => {
//!                 eprintln!("{} in {:?} failed after {:?}", told.operation, told.namespace, told.took);
//!             }
//!             _ => {}
//!         }
//!     }
//!
//!     fn wants_operations(&self) -> bool {
//!         true // costs each operation a microsecond or two
//!     }
//! }
//!
//! let builder = Client::builder("HOME").listener(Alarm);
//! # _ = builder;
//! ```
//!
//! Metrics go through the `metrics` facade, under the names in [`observability`](crate::observability): install any recorder. Watch
//! four: `evanesce_client_reads_total{outcome="error"}` (should be 0), `evanesce_client_fallbacks_total` (a zone in
//! trouble), `evanesce_client_write_failures_total` (latches not met), `evanesce_client_repairs_pending` (somebody is
//! behind; `..._repairs_total{outcome="dropped"}`: for good).
