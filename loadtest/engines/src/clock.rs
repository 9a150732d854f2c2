//! What a thread has worked, as opposed to what time has passed.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Processor time of this thread so far: stands still while others run in its place.
pub(crate) fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let whole = u64::try_from(time.tv_sec).expect("a thread's time is not negative");
    Duration::new(whole, u32::try_from(time.tv_nsec).expect("below a second"))
}
