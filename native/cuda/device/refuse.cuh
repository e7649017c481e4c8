// How a kernel says that its data cannot be worked on, as a CPU kernel would say by its answer.
#pragma once

#include "core/data_error.h"
#include "cuda/context.h"
#include "cuda/device/words.cuh"

namespace hn::cuda {

/// The first to refuse on a lane is told. The kernel goes on, with values that nobody will be shown: NaN at best.
HN_DEVICE void refuse(const FaultWord& fault, DataError why) {
  atomicCAS(fault.word, 0ull, fault.launch | static_cast<unsigned long long>(why));
}

}  // namespace hn::cuda
