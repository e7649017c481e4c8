// The calls of the CUDA runtime that the backend makes, on the host's memory: what it does with streams, events,
// staging and errors can be tested without a GPU. Kernels are not its business (native/simt).
//
// A stream is a list of work that nobody begins before somebody waits: what is read or freed too early, or used again,
// shows. Every call that needs a device ends the program when its thread has set none.
#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <functional>

namespace hn::test {

constexpr int kFakeGpus = 2;

struct FakeCuda {
  // What the machine is like.
  int driver_version = 13000;
  cudaError_t count_error = cudaSuccess;
  int compute_capability = 90;
  size_t memory_bytes = size_t{8} << 30;
  // What goes wrong: so many calls of it from now on.
  std::atomic<int> failing_allocations{0}, failing_pinned{0};
  // What there is of each now.
  std::atomic<int64_t> allocated{0}, pinned{0}, streams{0}, events{0};
};

FakeCuda& fake_cuda();

/// As a kernel would be put on the stream.
void enqueue(cudaStream_t stream, std::function<void()> work);
/// For work: the GPU is broken from here on, for this process.
void break_gpu(cudaStream_t stream, cudaError_t how);
/// Mends all of them, as a new process would.
void mend_gpus();

}  // namespace hn::test
