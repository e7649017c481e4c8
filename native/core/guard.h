// Guard zones, for tests (HUNYUAN_GUARD=1): known bytes right before and right after the bytes that were asked for,
// whatever their number is rounded to. A kernel that writes beside its tensors or its workspace changes them.
#pragma once

#include <cstddef>

namespace hn::guard {

/// On each side. A multiple of the alignment of blocks, which stays as it is.
constexpr size_t kZone = 64;

/// Whether the environment asks for guard zones.
bool wanted();

/// Writes both zones of the `bytes` at `data`, and fills the bytes themselves with 0xFF, a NaN in every float type: a
/// kernel that reads what nobody wrote gives NaN.
void arm(void* data, size_t bytes);

/// Whether both zones are as `arm` left them. If not, they are written anew: each damage is found once.
bool check_and_mend(void* data, size_t bytes);

}  // namespace hn::guard
