//! What a process has used: processor time and memory, from `/proc`.

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

/// Memory of a process that is in RAM, in bytes (`VmRSS`).
///
/// # Errors
/// When there is no such process.
pub(crate) fn resident_bytes(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    resident_in(&status).ok_or_else(|| io::Error::other("no VmRSS in the process's status"))
}

fn resident_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn first_number(text: &str) -> io::Result<u64> {
    let number = text.split_whitespace().next().and_then(|word| word.parse().ok());
    number.ok_or_else(|| io::Error::other("the scheduler's account of a thread is not a number"))
}

#[cfg(test)]
mod tests {
    use super::{first_number, own_time, processor_time, resident_bytes, resident_in};
    use std::time::Duration;

    #[test]
    fn files_are_read_as_the_kernel_writes_them() {
        assert_eq!(first_number("123456 789 5\n").expect("a number"), 123_456);
        assert!(first_number("\n").is_err());
        assert_eq!(resident_in("Name:\tx\nVmRSS:\t    1840 kB\nThreads:\t1\n"), Some(1840 * 1024));
        assert_eq!(resident_in("Name:\tx\n"), None);
    }

    #[test]
    fn own_process_has_used_something() {
        let pid = std::process::id();
        assert!(processor_time(pid).expect("it runs") > Duration::ZERO);
        assert!(resident_bytes(pid).expect("it runs") > 100_000);
        assert!(own_time() > Duration::ZERO);
    }
}
