// The launchers by op id: what a backend's `launch` and `supports` are made of, on a GPU and under the emulator. An op
// that is declared but has no launcher, or no HN_SUPPORTS, fails when the backend is linked.
#pragma once

#include "cuda/context.h"

namespace hn::cuda {

/// Whether there is a kernel for the op when its first tensor is of this type.
bool supports(uint32_t op, DType dtype);

Status launch(const Context& ctx, const OpCall& call);

}  // namespace hn::cuda
