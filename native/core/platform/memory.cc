#include "core/platform/memory.h"

#include <sys/mman.h>
#include <unistd.h>
#include <algorithm>
#include <cstdlib>

#include "core/platform/cgroup.h"

namespace hn::platform {
namespace {

constexpr size_t kLine = 64;
constexpr size_t kHugeFrom = size_t{4} << 20;  // below two huge pages, alignment alone would waste as much as is gained

}  // namespace

uint64_t memory_limit_bytes() {
  const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  const uint64_t ram = pages > 0 && page > 0 ? static_cast<uint64_t>(pages) * static_cast<uint64_t>(page) : UINT64_MAX;
  return std::min(ram, cgroup_memory_bytes());
}

void* map_pages(size_t bytes) {
  if (bytes == 0) return nullptr;
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return nullptr;
  if (bytes >= kHugeFrom) (void)madvise(data, bytes, MADV_HUGEPAGE);  // a wish: 4 KiB pages do as well
  return data;
}

void unmap_pages(void* data, size_t bytes) {
  if (data) munmap(data, bytes);
}

void* aligned_alloc(size_t bytes) {
  void* data = nullptr;
  return posix_memalign(&data, kLine, std::max(bytes, kLine)) == 0 ? data : nullptr;
}

void aligned_free(void* data) { std::free(data); }

}  // namespace hn::platform
