//! The way to a connection: TCP, authentication, greeting.

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::cause::{Cause, Failure, Stage};
use crate::greeting::{Greeting, authenticate, greet};
use crate::options::after;
use crate::queue::Shared;

/// Connects, and does all that comes before the first request, within the time to connect.
///
/// # Errors
///
/// What failed.
pub(crate) async fn arrive(shared: &Shared) -> Result<(TcpStream, Greeting), Failure> {
    let due = after(Instant::now(), shared.options.connect_timeout);
    let mut stream = within(due, Stage::Connect, connect(shared)).await?;
    if let Some(credentials) = &shared.options.credentials {
        within(due, Stage::Authentication, authenticate(&mut stream, credentials)).await?;
    }
    let greeting = within(due, Stage::Greeting, greet(&mut stream)).await?;
    Ok((stream, greeting))
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
