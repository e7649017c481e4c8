// Host memory from the operating system.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hn::platform {

/// The smaller of the machine's RAM and the cgroup's limit (v1 or v2).
uint64_t memory_limit_bytes();

/// Zeroed pages, in huge pages from 4 MiB on where the system has them; nullptr when there are none.
void* map_pages(size_t bytes);
void unmap_pages(void* data, size_t bytes);

/// 64-byte aligned, one cache line and one AVX-512 register; nullptr when there is no memory.
void* aligned_alloc(size_t bytes);
void aligned_free(void* data);

}  // namespace hn::platform
