// Stacks for fibers: pages of their own with a page below that nobody may touch, so that an overflow ends the process
// instead of changing other memory.
#pragma once

#include <cstddef>

namespace hn::platform {

/// The lowest usable address; the stack grows down from `bytes` above it. nullptr when there is no memory.
void* map_stack(size_t bytes);
void unmap_stack(void* stack, size_t bytes);

}  // namespace hn::platform
