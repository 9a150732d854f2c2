//! Ctrl-C and SIGTERM as a flag, for loops that must end what they started.

use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Starts to listen for signals, on a thread of its own; before anything is started that must not be left behind.
///
/// # Errors
/// When the system refuses.
pub(crate) fn listen() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ready, listening) = std::sync::mpsc::channel();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
            let mut terminate = match terminate {
                Ok(terminate) => terminate,
                Err(error) => return drop(ready.send(Err(error))),
            };
            // Nobody waits for the word any more when this fails.
            let _ = ready.send(Ok(()));
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            REQUESTED.store(true, Ordering::Relaxed);
        });
    })?;
    listening.recv().unwrap_or(Ok(()))
}

/// Whether the run is to end.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}
