//! A worker of this program: callers on one thread, in windows.

use std::io::{BufRead, Write, stdin, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::args::WorkArgs;
use crate::client::{Caller, ClientName, async_memcached, evanesce, memcache_async};
use crate::keys::Keys;

/// Connects, and works in the windows that stdin tells.
pub(crate) fn run(args: &WorkArgs) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (address, keys, value_bytes) = (args.address, args.callers, args.value_bytes);
    match args.client {
        ClientName::Evanesce => {
            let client = runtime.block_on(evanesce::connect(address))?;
            serve(&runtime, args, (0..keys).map(|_| evanesce::Single(client.clone())).collect())
        }
        ClientName::EvanesceBatch => {
            let client = runtime.block_on(evanesce::connect(address))?;
            serve(&runtime, args, vec![evanesce::Batch { client, keys, value_bytes }])
        }
        ClientName::MemcacheAsync => {
            let connect = |_| runtime.block_on(memcache_async::connect(address));
            serve(&runtime, args, (0..keys).map(connect).collect::<Result<_>>()?)
        }
        ClientName::AsyncMemcached => {
            let connect =
                |_| runtime.block_on(async_memcached::connect(address)).map(async_memcached::Single);
            serve(&runtime, args, (0..keys).map(connect).collect::<Result<_>>()?)
        }
        ClientName::AsyncMemcachedBatch => {
            let client = runtime.block_on(async_memcached::connect(address))?;
            serve(&runtime, args, vec![async_memcached::Batch { client, keys, value_bytes }])
        }
    }
}

fn serve<C: Caller>(runtime: &Runtime, args: &WorkArgs, callers: Vec<C>) -> Result<()> {
    let with_keys = |(number, caller)| (caller, Keys::new(number, args.keys, args.value_bytes));
    let mut callers: Vec<(C, Keys)> = callers.into_iter().enumerate().map(with_keys).collect();
    say("ready")?;
    for line in stdin().lock().lines() {
        let millis = line?.parse().context("a window is a number of milliseconds")?;
        let before = processor_time();
        let (back, keys) = runtime.block_on(window(callers, Duration::from_millis(millis)))?;
        callers = back;
        say(&format!("{keys} {}", (processor_time() - before).as_nanos()))?;
    }
    Ok(())
}

/// All callers at once, until the time is over.
async fn window<C: Caller>(callers: Vec<(C, Keys)>, time: Duration) -> Result<(Vec<(C, Keys)>, u64)> {
    let over = Arc::new(AtomicBool::new(false));
    let start = |(caller, keys)| tokio::spawn(work(caller, keys, Arc::clone(&over)));
    let tasks: Vec<JoinHandle<_>> = callers.into_iter().map(start).collect();
    sleep(time).await;
    over.store(true, Ordering::Relaxed);
    let (mut callers, mut read) = (Vec::new(), 0);
    for task in tasks {
        let (caller, keys, count) = task.await??;
        callers.push((caller, keys));
        read += count;
    }
    Ok((callers, read))
}

async fn work<C: Caller>(mut caller: C, mut keys: Keys, over: Arc<AtomicBool>) -> Result<(C, Keys, u64)> {
    let mut read = 0;
    while !over.load(Ordering::Relaxed) {
        read += caller.call(&mut keys).await?;
    }
    Ok((caller, keys, read))
}

fn say(line: &str) -> Result<()> {
    let mut out = stdout();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Of all threads.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
