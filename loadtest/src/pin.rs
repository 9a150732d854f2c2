//! Which core a process runs on.

use std::io;

/// Runs something on one core: what it starts inherits that; this thread goes back to where it was.
///
/// # Errors
/// When there is no such core for us, with its number.
#[cfg(target_os = "linux")]
pub(crate) fn on_core<T>(core: Option<usize>, start: impl FnOnce() -> T) -> io::Result<T> {
    let Some(core) = core else { return Ok(start()) };
    let before = rustix::thread::sched_getaffinity(None)?;
    pin(core)?;
    let started = start();
    rustix::thread::sched_setaffinity(None, &before)?;
    Ok(started)
}

/// Keeps this thread on one core.
///
/// # Errors
/// When there is no such core for us, with its number.
#[cfg(target_os = "linux")]
pub(crate) fn pin(core: usize) -> io::Result<()> {
    use rustix::thread::CpuSet;

    let refused = |error: io::Error| {
        let what = format!("cannot run on core {core} ({error}); choose another, or none with --no-pin");
        io::Error::new(error.kind(), what)
    };
    if core >= CpuSet::MAX_CPU {
        return Err(refused(io::ErrorKind::InvalidInput.into()));
    }
    let mut cores = CpuSet::new();
    cores.set(core);
    rustix::thread::sched_setaffinity(None, &cores).map_err(|error| refused(error.into()))
}

/// Elsewhere than on Linux a process cannot be kept on a core.
///
/// # Errors
/// When a core is asked for.
#[cfg(not(target_os = "linux"))]
pub(crate) fn on_core<T>(core: Option<usize>, start: impl FnOnce() -> T) -> io::Result<T> {
    core.map_or(Ok(()), pin)?;
    Ok(start())
}

/// Elsewhere than on Linux a process cannot be kept on a core.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pin(core: usize) -> io::Result<()> {
    Err(io::Error::other(format!("cannot run on core {core} here; give --no-pin")))
}
