//! The task that keeps one lease at one discovery.
//!
//! ```text
//!              accepted                    renewed
//!   Register ───────────> Renew ──┐ every renew_every, at once when the state changes
//!      ^ ^                 │  ^───┘
//!      │ └── NOT_FOUND ────┘
//!      └──── any other failure: after a pause, as the same step again, on a new connection
//! ```

use std::sync::Arc;
use std::time::Duration;

use backon::ExponentialBackoff;
use evanesce_grpc::discovery::v1;
use evanesce_grpc::discovery::v1::discovery_client::DiscoveryClient;
use evanesce_topology::NodeState;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::endpoint::Discovery;
use crate::registration::{Shared, Wish};

/// The shortest pause between renewals, whatever a discovery asks for: its answer is not to be trusted with our CPU.
const RENEW_EVERY_MIN: Duration = Duration::from_millis(10);

/// The longest, for the same reason: a discovery that says "renew in a year" would not hear of a change otherwise.
const RENEW_EVERY_MAX: Duration = Duration::from_secs(60);

/// Keeps one lease at one discovery.
pub(crate) struct LeaseKeeper {
    shared: Arc<Shared>,
    slot: usize,
    discovery: Discovery,
    client: Option<DiscoveryClient<Channel>>,
    /// Whether the last call was not answered in time.
    late: bool,
    granted: Option<Granted>,
    /// The mark of the rosters that it holds, as it told last.
    rosters_mark: u64,
    /// The number of the last that the node was told it missed.
    missed_seen: u64,
    backoff: ExponentialBackoff,
}

/// What a discovery granted.
#[derive(Debug, Clone, Copy)]
struct Granted {
    lease: Duration,
    renew_every: Duration,
}

/// Why a step failed.
enum Failure {
    /// No connection.
    Unreachable(String),
    /// No answer in time.
    Late,
    /// The discovery answered, or the connection broke.
    Status(Status),
}

impl LeaseKeeper {
    pub(crate) fn new(shared: Arc<Shared>, slot: usize, discovery: Discovery) -> Self {
        let backoff = shared.options.backoff();
        Self {
            shared,
            slot,
            discovery,
            client: None,
            late: false,
            granted: None,
            rosters_mark: 0,
            missed_seen: 0,
            backoff,
        }
    }

    /// Runs until the node wishes to leave, and then gives the lease back.
    pub(crate) async fn run(mut self) {
        let (mut wishes, mut news) = (self.shared.wishes(), self.shared.news());
        loop {
            news.mark_unchanged();
            let wish = *wishes.borrow_and_update();
            let Wish::Stay(state) = wish else { break };
            let pause = self.keep(state).await;
            if !wait(&mut wishes, &mut news, pause).await {
                return;
            }
        }
        self.leave().await;
        self.shared.left(self.slot);
    }

    /// One step, and how long to pause after it.
    async fn keep(&mut self, state: NodeState) -> Duration {
        match self.step(state).await {
            Ok(granted) => {
                self.backoff = self.shared.options.backoff();
                self.late = false;
                // Some jitter, so that nodes started together do not renew together for ever.
                granted.renew_every.mul_f64(1.0 - fastrand::f64() / 5.0)
            }
            Err(failure) => {
                self.note(&failure);
                let pause = self.next_backoff();
                self.granted.map_or(pause, |granted| pause.min(granted.renew_every))
            }
        }
    }

    fn next_backoff(&mut self) -> Duration {
        let max = self.shared.options.backoff_max;
        self.backoff.next().unwrap_or(max).min(max)
    }

    async fn step(&mut self, state: NodeState) -> Result<Granted, Failure> {
        let asked = Instant::now();
        let granted = match self.granted {
            None => self.register(state).await?,
            Some(granted) => match self.renew(state, granted).await {
                Ok(granted) => granted,
                Err(Failure::Status(status)) if status.code() == Code::NotFound => {
                    self.granted = None;
                    tracing::info!(discovery = %self.discovery.address, "the lease is gone: registering again");
                    self.register(state).await?
                }
                Err(failure) => return Err(failure),
            },
        };
        self.shared.accepted(self.slot, asked + granted.lease);
        Ok(granted)
    }

    async fn register(&mut self, state: NodeState) -> Result<Granted, Failure> {
        let facts = &self.shared.facts;
        let node = v1::Node { state: v1::NodeState::from(state).into(), ..v1::Node::from(&facts.node) };
        let (rosters, rosters_mark) = self.shared.carried.to_tell(self.rosters_mark);
        let request = v1::RegisterRequest {
            rosters,
            rosters_mark,
            cluster: facts.cluster.clone(),
            profile: Some(facts.profile.into()),
            group: facts.group.clone(),
            zone: facts.zone.clone(),
            node: Some(node),
            epoch_seen: self.shared.epoch_seen(),
        };
        let mut client = self.client().await?;
        let response = self.call(client.register(request)).await?;
        tracing::info!(discovery = %self.discovery.address, epoch = response.epoch, "registered");
        self.shared.saw(response.epoch);
        self.take_rosters(response.rosters, response.rosters_mark);
        Ok(*self.granted.insert(Granted::read(response.lease_ms, response.renew_every_ms)))
    }

    /// Renews what was granted. The discovery may have started again with another lease meanwhile, and says so.
    async fn renew(&mut self, state: NodeState, granted: Granted) -> Result<Granted, Failure> {
        let facts = &self.shared.facts;
        let (rosters, rosters_mark) = self.shared.carried.to_tell(self.rosters_mark);
        let request = v1::RenewRequest {
            rosters,
            rosters_mark,
            report: Some(self.shared.carried.report()),
            cluster: facts.cluster.clone(),
            group: facts.group.clone(),
            name: facts.node.name.clone(),
            incarnation: facts.node.incarnation,
            state: v1::NodeState::from(state).into(),
            epoch_seen: self.shared.epoch_seen(),
            missed_seen: self.missed_seen,
        };
        let mut client = self.client().await?;
        let response = self.call(client.renew(request)).await?;
        self.shared.saw(response.epoch);
        self.take_rosters(response.rosters, response.rosters_mark);
        if ![0, self.missed_seen].contains(&response.missed_number) {
            self.missed_seen = response.missed_number;
            self.shared.missed(response.missed_since);
        }
        let says = response.lease_ms > 0 && response.renew_every_ms > 0;
        let granted = if says { Granted::read(response.lease_ms, response.renew_every_ms) } else { granted };
        Ok(*self.granted.insert(granted))
    }

    /// Keeps what this discovery has decided, or was told, for the others.
    fn take_rosters(&mut self, told: Vec<v1::Roster>, mark: u64) {
        self.rosters_mark = mark;
        if self.shared.carried.take(told) {
            self.shared.tell_news();
        }
    }

    /// Tries once to give the lease back; also where none is known of, as a grant may have been lost on its way.
    async fn leave(&mut self) {
        let facts = &self.shared.facts;
        let request = v1::DeregisterRequest {
            cluster: facts.cluster.clone(),
            group: facts.group.clone(),
            name: facts.node.name.clone(),
            incarnation: facts.node.incarnation,
        };
        let returned = match self.client().await {
            Ok(mut client) => self.call(client.deregister(request)).await.map(drop),
            Err(failure) => Err(failure),
        };
        match returned {
            // What it does not know it need not take back.
            Err(failure) if failure.code() != Some(Code::NotFound) => self.note(&failure),
            _ => self.shared.line(self.slot).last_error = None,
        }
    }

    async fn client(&mut self) -> Result<DiscoveryClient<Channel>, Failure> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let channel = self.discovery.connect().await.map_err(Failure::Unreachable)?;
        Ok(self.client.insert(DiscoveryClient::new(channel)).clone())
    }

    async fn call<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, Failure> {
        let answered = tokio::time::timeout(self.shared.options.call_timeout, call).await;
        let answered = answered.map_err(|_| Failure::Late)?;
        answered.map(tonic::Response::into_inner).map_err(Failure::Status)
    }

    /// Puts a failure where the node's status shows it; says it once in the log.
    fn note(&mut self, failure: &Failure) {
        let text = failure.text();
        let refused = failure.is_refusal();
        // A discovery that is slow is not made faster by a thousand nodes that all connect anew: only the second late
        // answer in a row costs the connection. Where it is dead, pings have told by then.
        let late = matches!(failure, Failure::Late);
        let late_before = std::mem::replace(&mut self.late, late);
        if !refused && (!late || late_before) {
            self.client = None;
            self.late = false;
        }
        metrics::counter!("evanesce_membership_register_failures_total", "reason" => failure.reason())
            .increment(1);
        let mut line = self.shared.line(self.slot);
        if line.last_error.as_ref() != Some(&text) {
            tracing::warn!(discovery = %self.discovery.address, error = %text, "cannot keep the registration");
        }
        line.last_error = Some(text);
        line.refused = refused;
    }
}

impl Granted {
    /// What a discovery said, within bounds.
    fn read(lease_ms: u64, renew_every_ms: u64) -> Self {
        let renew_every = Duration::from_millis(renew_every_ms).clamp(RENEW_EVERY_MIN, RENEW_EVERY_MAX);
        let lease = Duration::from_millis(lease_ms).clamp(renew_every, RENEW_EVERY_MAX * 10);
        Self { lease, renew_every }
    }
}

impl Failure {
    fn code(&self) -> Option<Code> {
        match self {
            Self::Unreachable(_) | Self::Late => None,
            Self::Status(status) => Some(status.code()),
        }
    }

    /// Whether the discovery itself said no to what this node says of itself.
    fn is_refusal(&self) -> bool {
        matches!(
            self.code(),
            Some(
                Code::AlreadyExists
                    | Code::FailedPrecondition
                    | Code::InvalidArgument
                    | Code::ResourceExhausted
            )
        )
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Status(_) if self.is_refusal() => "refused",
            Self::Late | Self::Status(_) => "failed",
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Unreachable(text) => text.clone(),
            Self::Late => "no answer in time".to_owned(),
            Self::Status(status) if self.is_refusal() => status.message().to_owned(),
            Self::Status(status) => format!("{:?}: {}", status.code(), status.message()),
        }
    }
}

/// Waits for `pause`, for another wish or for news. False when the registration is gone.
async fn wait(wishes: &mut watch::Receiver<Wish>, news: &mut watch::Receiver<u64>, pause: Duration) -> bool {
    tokio::select! {
        biased;
        () = tokio::time::sleep(pause) => true,
        changed = wishes.changed() => changed.is_ok(),
        changed = news.changed() => changed.is_ok(),
    }
}
