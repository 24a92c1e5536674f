#pragma once
// How many processors are ours: the parts of available_cpus(), with the system as an argument.

#include <sched.h>

#include <cstddef>
#include <filesystem>
#include <optional>

namespace cofork::detail {

/// sched_getaffinity(2) of the calling thread: 0, or -1 and errno.
using affinity_call = int (*)(std::size_t size, cpu_set_t* mask);

/// Processors in the affinity mask, however many the machine has. At least 1.
///
/// Where the kernel does not tell (seccomp), the number of processors that are online.
unsigned affinity_cpus(affinity_call get);

/// The smallest CPU quota on the way from our cgroup to the root, in processors rounded up; empty when there is none.
///
/// Reads cgroup v2's cpu.max and v1's cpu.cfs_quota_us (cgroups(7)). Paths are taken below `root`, "/" in earnest.
/// What cannot be read sets no limit: the root cgroup has no such files.
std::optional<unsigned> cgroup_cpus(const std::filesystem::path& root);

/// What available_cpus() answers when COFORK_WORKERS has the value `wish` (null: it is not set).
///
/// Throws std::system_error: errc::invalid_options when `wish` is anything but a positive number.
unsigned available_cpus(const char* wish, affinity_call get, const std::filesystem::path& root);

} // namespace cofork::detail
