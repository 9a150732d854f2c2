//! What can be seen of a client from outside: metrics, spans, events, diagnostics. All names are here, and none else is used.
//!
//! Names and labels are few and fixed. What is not is the names of your namespaces: use as many as you have kinds of
//! values, and not one for each user. No key and no value is in any of them.
//!
//! # Metrics
//!
//! Through the [`metrics`](https://docs.rs/metrics) facade: install any recorder before the client is made. Each has the label
//! `cluster` and those of the table.
//!
//! | metric | labels | counts |
//! |---|---|---|
//! | `evanesce_client_reads_total` | `outcome`: `hit`, `miss`, `error` | keys read from nodes |
//! | `evanesce_client_fallbacks_total` | `reason`: `error`, `miss` | reads that were asked in another zone |
//! | `evanesce_client_miss_fallback_hits_total` | | those after a miss that found the item |
//! | `evanesce_client_hedges_total` | | second requests for reads that took longer than usual |
//! | `evanesce_client_hedges_won_total` | | those that answered first |
//! | `evanesce_client_replica_writes_total` | `outcome`: `acked`, `failed` | writes to single replicas |
//! | `evanesce_client_write_failures_total` | | writes that did not meet their latch |
//! | `evanesce_client_superseded_total` | | writes that a replica knew something newer for |
//! | `evanesce_client_loads_total` | `outcome`: `loaded`, `elsewhere`, `failed` | keys loaded through `get_or_load`; `elsewhere`: by another process, while this one waited |
//! | `evanesce_client_stale_served_total` | | items served beyond their TTL while they were loaded anew |
//! | `evanesce_client_repairs_total` | `outcome`: `done`, `superseded`, `refused`, `dropped` | missed writes that were given to the replica, or need not or cannot be; `dropped`: for lack of room |
//! | `evanesce_client_repairs_pending` | | gauge: writes that some replica has missed and does not have yet |
//! | `evanesce_client_repair_bytes` | | gauge: bytes they take |
//! | `evanesce_client_read_repairs_total` | | items copied to a replica that missed a read |
//! | `evanesce_client_budget_refusals_total` | `reason`: `miss`, `hedge` | misses that were not asked in another zone, and slow reads that were not asked a second time, since the budget was used up or no node was free |
//! | `evanesce_client_attempt_seconds` | `zone` | histogram: what single reads, and bulk reads that are hedged, took at one node |
//! | `evanesce_client_refused_total` | `zone`; `reason`: `overloaded`, `queue_full` | requests that were not sent: as many reads as a slow node bears were under way, or as many requests as its connection holds |
//! | `evanesce_client_breakers_open` | `zone` | gauge: nodes whose breaker keeps reads away from them |
//! | `evanesce_client_cross_zone_bytes_total` | `direction`: `read`, `written`; `zone`: the other one | bytes between this process and nodes of other zones than its own, as they go over the connection, less what TLS adds. None without [`zone`](crate::ClientBuilder::zone) |
//! | `evanesce_client_near_cache_reads_total` | `namespace`; `outcome`: `hit`, `miss` | reads that looked into a near cache; its hits are not among `reads_total` |
//! | `evanesce_client_near_cache_evictions_total` | `namespace` | items that it had no room for |
//! | `evanesce_client_near_cache_bytes` | `namespace` | gauge: what it holds |
//! | `evanesce_client_topology_epoch` | | gauge: the epoch in force |
//!
//! The `namespace` of a near cache is `default` where it is that of all namespaces that have none of their own. Chunks of
//! large values count as reads and writes of their own.
//!
//! Connections have no `cluster`, for they do not know of any: `evanesce_transport_connections_opened_total`,
//! `evanesce_transport_connects_failed_total` and `evanesce_transport_connections_lost_total`, the last two with a `reason`.
//!
//! # Spans
//!
//! Through [`tracing`](https://docs.rs/tracing), under the target `evanesce_client`. Nothing is made of them while no subscriber
//! wants their level.
//!
//! | span | level | fields | is |
//! |---|---|---|---|
//! | `evanesce_client.operation` | debug | `operation`, `cluster`, `namespace`, `outcome` | one operation |
//! | `evanesce_client.load` | debug | `cluster`, `namespace`, `outcome` | one run of a loader, in a task of its own |
//! | `evanesce_client.attempt` | trace | `zone`, `outcome` | one node asked for one key, and the one that is asked beside it by a hedge |
//! | `evanesce_client.node_batch` | trace | `zone`, `outcome` | one node asked for up to 256 keys |
//! | `evanesce_client.write` | trace | `outcome` | one change on its way to all zones, until its latch is met or cannot be |
//! | `evanesce_client.decision` | trace | `outcome` | the home zone asked to decide an `add`, a compare, an append or arithmetic, with what is asked of others before; its result is a `write` |
//! | `evanesce_client.replica` | trace | `zone`, `outcome` | an event, not a span: what one replica answered to a write |
//!
//! - `operation` is one of the words of [`Operation`](crate::Operation): `get`, `get_many`, `incr`...
//! - `namespace` is the name that the program gave to [`Client::namespace`](crate::Client::namespace); empty for keys that come
//!   with theirs, and for a batch.
//! - `outcome` is one of the words of [`OperationOutcome`](crate::OperationOutcome): `hit`, `miss`, `partial`, `done`,
//!   `not_done`, `failed`, `maybe_applied`, `unusable`, `abandoned`. It is there when the span closes.
//!
//! Beside them the client logs what an operator should know, at `warn` and `info`: a connection lost, a topology adopted or
//! refused, a wrong clock.
//!
//! # Events and diagnostics
//!
//! A [`Listener`](crate::Listener) is told of what happens, operations included if it wants that.
//! [`Client::diagnostics`](crate::Client::diagnostics) is the state at one moment, for a person or a support ticket.
