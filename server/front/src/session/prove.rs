//! The beginning of a connection whose peer has to authenticate.

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use crate::gate::{Gate, Verdict};
use crate::peer::Peer;
use crate::service::Service;
use crate::session::{Filled, Next, Session};

/// How long somebody unknown may keep a connection: enough for a person at a keyboard.
pub(crate) const PROOF_MAX: Duration = Duration::from_secs(30);

impl<IO: Peer, S: Service> Session<IO, S> {
    /// Serves nothing until the peer, which is there since then, has authenticated. Its first bytes have come.
    ///
    /// # Errors
    ///
    /// The connection broke, or its peer took too long.
    pub(super) async fn prove(&mut self, since: Duration) -> io::Result<Next> {
        let mut gate = Gate::default();
        loop {
            let mut kit = self.kit.take().unwrap_or_else(|| self.slot.worker.pool.lend());
            let bytes = self.input.take(&mut kit);
            let (verdict, consumed) = self.judge(&mut gate, &bytes, kit.replies.buf());
            self.input.put_back(&mut kit, bytes, consumed);
            if let Verdict::Waits { missing } = verdict {
                self.input.expect(missing, &mut kit);
            }
            let is_answered = !kit.replies.is_empty();
            self.kit = Some(kit);
            if is_answered {
                poll_fn(|cx| self.poll_flush(cx)).await?;
            }
            match verdict {
                Verdict::Admitted => {
                    self.is_proving = false;
                    return Ok(Next::Again);
                }
                Verdict::Close => return Ok(Next::Linger),
                Verdict::Waits { .. } if self.worker().is_draining() => return Ok(Next::Linger),
                Verdict::Waits { .. } if self.worker().now().saturating_sub(since) > PROOF_MAX => {
                    self.worker().mine().stalled_connections.add(1);
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Verdict::Waits { .. } => {}
            }
            if poll_fn(|cx| self.poll_fill(cx)).await? == Filled::End {
                return Ok(Next::Close);
            }
        }
    }

    fn judge(&self, gate: &mut Gate, bytes: &[u8], replies: &mut Vec<u8>) -> (Verdict, usize) {
        let worker = self.worker();
        let Some(users) = worker.secrets.users() else { return (Verdict::Close, 0) };
        let step = gate.take(bytes, &users, replies);
        let mine = worker.mine();
        mine.auth_cmds.add(step.attempts);
        mine.auth_errors.add(step.failures);
        mine.auth_missing.add(step.missing);
        if step.failures > 0 {
            self.tell("refused a name and password that are not in the authentication file");
        } else if step.missing > 0 {
            self.tell("refused a request without a name and password, which this port asks for");
        }
        (step.verdict, step.consumed)
    }

    fn tell(&self, what: &str) {
        let worker = self.worker();
        if let Some(unsaid) = worker.hush_passwords.may_say(worker.now()) {
            let peer = self.stream.endpoints().name();
            tracing::warn!(peer, unsaid, "{what}");
        }
    }
}
