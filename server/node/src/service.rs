//! The node behind its front: batches in, replies out.

use std::cell::Cell;
use std::io;
use std::sync::Arc;

use evanesce_front::{Connection, Ended, Flow, Output, Service};
use evanesce_wire::request::Request;

use crate::ahead::read_ahead;
use crate::execute::{Context, READS_MAX, execute, is_retrieval, retrieval};
use crate::long::is_long;
use crate::shared::Shared;

/// Steps of a run of lookups before other connections go first, though the output is not full or the peer reads fast. Some
/// thousand keys, in less than a millisecond: a line may have half a million, none of them there.
const RUN_STEPS_MAX: usize = 128;

/// One worker's service.
pub(crate) struct NodeService {
    pub(crate) shared: Arc<Shared>,
    worker: usize,
    /// Keys to look up at once next; see [`Context`].
    reads: Cell<usize>,
}

impl NodeService {
    pub(crate) fn new(shared: Arc<Shared>, worker: usize) -> Self {
        Self { shared, worker, reads: Cell::new(READS_MAX) }
    }

    pub(crate) fn context<'s>(&'s self, out: &Output<'_>) -> Context<'s> {
        let shared = &*self.shared;
        let now = shared.clock.now();
        shared.note_request(now);
        Context {
            store: &shared.store,
            now,
            watch: shared.watchers.watch(now, || out.connection_id()),
            commands: &shared.commands[self.worker],
            shared,
            // After it was noted that the process runs: it may have been away.
            hides_before: shared.standing.hides_before(),
            reads: &self.reads,
        }
    }
}

impl Service for NodeService {
    async fn call(&self, batch: &[Request<'_>], out: &mut Output<'_>) -> io::Result<Flow> {
        let mut context = self.context(out);
        if self.shared.cut.is_cut(out.connection_id()) {
            return Ok(Flow::Close);
        }
        read_ahead(batch, context.store);
        let mut rest = batch;
        while let Some(request) = rest.first() {
            let run = rest.iter().take_while(|request| is_retrieval(request)).count();
            let (requests, after) = rest.split_at(run.max(1));
            rest = after;
            if run == 0 && is_long(request) {
                // Boxed, because few connections ever need it and each has room for this future.
                if Box::pin(self.answer_at_length(request, out)).await? == Flow::Close {
                    return Ok(Flow::Close);
                }
                context = self.context(out);
            } else if run == 0 {
                if execute(request, &context, out.replies()) == Flow::Close {
                    return Ok(Flow::Close);
                }
            } else {
                let mut retrieval = retrieval(requests);
                let mut steps = 0;
                while retrieval.step(&context, out.replies()) {
                    steps += 1;
                    if out.is_full() {
                        out.flush().await?;
                        context = self.context(out);
                    }
                    if steps % RUN_STEPS_MAX == 0 {
                        tokio::task::yield_now().await;
                        context = self.context(out);
                    }
                }
            }
            if out.is_full() && !rest.is_empty() {
                out.flush().await?;
                context = self.context(out);
            }
        }
        Ok(Flow::Continue)
    }

    fn connected(&self, connection: &Connection) {
        self.tell_connected(connection);
    }

    fn disconnected(&self, connection: &Connection, ended: Ended) {
        self.shared.cut.closed(connection.id());
        self.tell_disconnected(connection, ended);
    }
}
