// A backend that shows mistakes of the queue. Its asynchronous form runs a thread per lane, as a GPU's streams would:
// a launch returns before its work is done, so memory that is reused too early, or a lane that does not wait for the
// other, gives wrong values, and a data race that ThreadSanitizer sees. Which kernel runs is the first attribute.
#pragma once

#include <atomic>

#include "core/backend.h"

namespace hn::test {

/// Tensors are int64 elements. Argument 0 is the list of inputs, argument 1 the list of outputs.
enum Kernel {
  kAdd,         // each output element = sum of the inputs' elements at that place + attrs[1]
  kAddInPlace,  // each written tensor += attrs[1]; a first argument, when given, is added too
  kSlowAdd,     // kAdd after attrs[2] microseconds
  kFail,        // answers invalid_argument
  kWorkspace,   // kAdd, with attrs[2] bytes of workspace that it fills first
  kBeside,      // kAdd, then changes the byte at attrs[2] from the output's start
  kBesideWork,  // kWorkspace that fills one byte too many
};

struct FakeState {
  std::atomic<int64_t> allocated{0};  // bytes now
  std::atomic<int64_t> launches{0};
  std::atomic<int64_t> events{0};        // not yet freed
  std::atomic<bool> gate_closed{false};  // kernels wait while it is closed
};

/// Counters of all devices of the two backends.
FakeState& fake_state();

const BackendTable& fake_backend(bool asynchronous);

}  // namespace hn::test
