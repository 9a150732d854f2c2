//! What a process has used of the processor, from `/proc`.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// User and system time of a process, all its threads together.
///
/// From the scheduler's own account, in nanoseconds. It is exact while the process waits for requests, which is when
/// it should be read: what a running thread has used since it was last scheduled is missing.
///
/// # Errors
/// When there is no such process, or the system keeps no such account.
pub(crate) fn processor_time(pid: u32) -> io::Result<Duration> {
    let mut total = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        match fs::read_to_string(thread?.path().join("schedstat")) {
            Ok(text) => total += first_number(&text)?,
            // A thread that ended between the two reads.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Duration::from_nanos(total))
}

/// Processor time of the calling thread.
pub(crate) fn own_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn first_number(text: &str) -> io::Result<u64> {
    let number = text.split_whitespace().next().and_then(|word| word.parse().ok());
    number.ok_or_else(|| io::Error::other("the scheduler's account of a thread is not a number"))
}

#[cfg(test)]
mod tests {
    use super::{first_number, own_time, processor_time};
    use std::time::Duration;

    #[test]
    fn files_are_read_as_the_kernel_writes_them() {
        assert_eq!(first_number("123456 789 5\n").expect("a number"), 123_456);
        assert!(first_number("\n").is_err());
    }

    #[test]
    fn own_process_has_used_something() {
        let pid = std::process::id();
        assert!(processor_time(pid).expect("it runs") > Duration::ZERO);
        assert!(own_time() > Duration::ZERO);
    }
}
