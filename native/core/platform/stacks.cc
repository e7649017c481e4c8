#include "core/platform/stacks.h"

#include <sys/mman.h>
#include <unistd.h>

namespace hn::platform {
namespace {

size_t guard_bytes() {
  static const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return page;
}

}  // namespace

void* map_stack(size_t bytes) {
  const size_t guard = guard_bytes();
  void* data = mmap(nullptr, guard + bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) return nullptr;
  if (mprotect(data, guard, PROT_NONE) != 0) {
    munmap(data, guard + bytes);
    return nullptr;
  }
  return static_cast<char*>(data) + guard;
}

void unmap_stack(void* stack, size_t bytes) {
  const size_t guard = guard_bytes();
  munmap(static_cast<char*>(stack) - guard, guard + bytes);
}

}  // namespace hn::platform
