//! The way to a connection: TCP, TLS, authentication, greeting.

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::cause::{Cause, Failure, Stage};
use crate::greeting::{Greeting, authenticate, greet};
use crate::options::after;
use crate::queue::Shared;
#[cfg(feature = "simulation")]
use crate::simulation::Simulated;
use crate::stream::{Plain, Talk};
#[cfg(feature = "tls")]
use crate::tls::Tls;

/// A stream that may carry requests, and what the node said.
pub(crate) enum Arrival {
    /// In TCP alone.
    Plain(Plain, Greeting),
    /// In TLS.
    #[cfg(feature = "tls")]
    Tls(Tls, Greeting),
    /// In what a simulation opened.
    #[cfg(feature = "simulation")]
    Simulated(Simulated, Greeting),
}

/// Connects, and does all that comes before the first request, within the time to connect.
///
/// # Errors
///
/// What failed.
pub(crate) async fn arrive(shared: &Shared) -> Result<Arrival, Failure> {
    let due = after(Instant::now(), shared.options.connect_timeout);
    #[cfg(feature = "simulation")]
    if let Some(open) = shared.options.connector {
        let opening =
            async { open(shared.address).await.map_err(|error| Failure::of_io(Stage::Connect, &error)) };
        let mut stream = Simulated(within(due, Stage::Connect, opening).await?);
        let greeting = introduce(shared, &mut stream, due).await?;
        return Ok(Arrival::Simulated(stream, greeting));
    }
    let mut stream = within(due, Stage::Connect, connect(shared)).await?;
    #[cfg(feature = "tls")]
    if let Some(handshake) = &shared.handshake {
        let mut tls = within(due, Stage::Tls, handshake.shake(stream)).await?;
        let greeting = introduce(shared, &mut tls, due).await?;
        return Ok(Arrival::Tls(tls, greeting));
    }
    let greeting = introduce(shared, &mut stream, due).await?;
    Ok(Arrival::Plain(Plain::new(stream), greeting))
}

/// What is the same inside of TLS and outside.
async fn introduce(shared: &Shared, stream: &mut impl Talk, due: Instant) -> Result<Greeting, Failure> {
    if let Some(credentials) = &shared.options.credentials {
        within(due, Stage::Authentication, authenticate(stream, credentials)).await?;
    }
    within(due, Stage::Greeting, greet(stream)).await
}

async fn connect(shared: &Shared) -> Result<TcpStream, Failure> {
    let io = |error: std::io::Error| Failure::of_io(Stage::Connect, &error);
    let stream = TcpStream::connect(shared.address).await.map_err(io)?;
    stream.set_nodelay(true).map_err(io)?;
    Ok(stream)
}

async fn within<T>(
    due: Instant,
    stage: Stage,
    step: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout_at(due, step).await.unwrap_or_else(|_| Err(Cause::TimedOut(stage).into()))
}
