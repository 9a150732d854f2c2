//! What this process may use of its machine: cores, memory, file descriptors.

use std::path::PathBuf;

/// The part of the memory that a node takes unless told: the rest is for connections, the system and its page cache.
const MEMORY_SHARE: u64 = 4;
/// What a node takes at least, as memcached's default.
const MEMORY_DEFAULT_MIN: u64 = 64 << 20;
/// File descriptors besides memcached connections: listeners, gRPC, HTTP, files, the runtimes' own.
const DESCRIPTORS_BESIDES: u64 = 256;

/// Cores this process may use; aware of cgroups and affinity.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

/// The budget of a node that was given none.
pub(crate) fn memory_default() -> usize {
    let usable = [memory_of_host(), memory_of_cgroup()].into_iter().flatten().min().unwrap_or(0);
    let bytes = (usable / MEMORY_SHARE).max(MEMORY_DEFAULT_MIN);
    // Whole mebibytes read better where the budget is shown.
    usize::try_from(bytes >> 20 << 20).unwrap_or(usize::MAX)
}

/// Raises the limit of file descriptors to the hard limit, and warns where that does not fit `connections_max`.
pub(crate) fn raise_descriptor_limit(connections_max: Option<usize>) {
    let limit = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => limit,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of file descriptors: see ulimit -n");
            return;
        }
    };
    let needed = connections_max.map_or(0, |connections| connections as u64) + DESCRIPTORS_BESIDES;
    if limit < needed {
        tracing::warn!(
            limit,
            needed,
            "fewer file descriptors than connections_max needs: raise the hard limit (ulimit -Hn, LimitNOFILE), or \
             lower connections_max"
        );
    }
}

fn memory_of_host() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

/// The tightest limit of this process's cgroup and those above it, or `None` where nothing limits it.
fn memory_of_cgroup() -> Option<u64> {
    let membership = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    cgroup_limit_files(&membership)
        .into_iter()
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .filter_map(|text| text.trim().parse().ok())
        .min()
}

/// Where limits may stand, for `/proc/self/cgroup` as given: version 2 first, then version 1.
fn cgroup_limit_files(membership: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in membership.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let path = PathBuf::from(path.trim_start_matches('/'));
        files.extend(path.ancestors().map(|ancestor| PathBuf::from(root).join(ancestor).join(file)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_all_groups_above_count() {
        let files = cgroup_limit_files("0::/kube/pod\n4:cpu,cpuacct:/x\n3:memory:/docker\n");
        let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
        assert_eq!(
            files,
            [
                "/sys/fs/cgroup/kube/pod/memory.max",
                "/sys/fs/cgroup/kube/memory.max",
                "/sys/fs/cgroup/memory.max",
                "/sys/fs/cgroup/memory/docker/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            ]
        );
    }

    #[test]
    fn default_budget_is_at_least_the_minimum_and_whole_mebibytes() {
        let bytes = memory_default();
        assert!(bytes as u64 >= MEMORY_DEFAULT_MIN);
        assert_eq!(bytes % (1 << 20), 0);
    }
}
