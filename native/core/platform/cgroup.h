// What the container allows: numbers from the cgroup (v2 or v1) this process runs in.
#pragma once

#include <cstdint>

namespace hn::platform {

/// CPUs that the quota grants, rounded up; 0 when there is no quota.
int cgroup_cpus();

/// The smallest memory limit up the hierarchy; UINT64_MAX when there is none.
uint64_t cgroup_memory_bytes();

}  // namespace hn::platform
