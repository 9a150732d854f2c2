//! The node behind its front: batches in, replies out.

use std::cell::Cell;
use std::io;
use std::sync::Arc;

use evanesce_front::{Flow, Output, Service};
use evanesce_wire::request::Request;

use crate::ahead::read_ahead;
use crate::execute::{Context, READS_MAX, execute, is_retrieval, retrieval};
use crate::shared::Shared;

/// One worker's service.
pub(crate) struct NodeService {
    shared: Arc<Shared>,
    worker: usize,
    /// Keys to look up at once next; see [`Context`].
    reads: Cell<usize>,
}

impl NodeService {
    pub(crate) fn new(shared: Arc<Shared>, worker: usize) -> Self {
        Self { shared, worker, reads: Cell::new(READS_MAX) }
    }

    fn context(&self) -> Context<'_> {
        let shared = &*self.shared;
        Context {
            store: &shared.store,
            now: shared.clock.now(),
            commands: &shared.commands[self.worker],
            shared,
            reads: &self.reads,
        }
    }
}

impl Service for NodeService {
    async fn call(&self, batch: &[Request<'_>], out: &mut Output<'_>) -> io::Result<Flow> {
        let mut context = self.context();
        read_ahead(batch, context.store);
        let mut rest = batch;
        while let Some(request) = rest.first() {
            let run = rest.iter().take_while(|request| is_retrieval(request)).count();
            let (requests, after) = rest.split_at(run.max(1));
            rest = after;
            if run == 0 {
                if execute(request, &context, out.replies()) == Flow::Close {
                    return Ok(Flow::Close);
                }
            } else {
                let mut retrieval = retrieval(requests);
                while retrieval.step(&context, out.replies()) {
                    if out.is_full() {
                        out.flush().await?;
                        context = self.context();
                    }
                }
            }
            if out.is_full() && !rest.is_empty() {
                out.flush().await?;
                context = self.context();
            }
        }
        Ok(Flow::Continue)
    }
}
