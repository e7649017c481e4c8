// What kernel code asks of the emulator: cuda_words.h and the wrappers in native/cuda/device/ptx*.cuh call these. They
// are functions of the runtime's own translation units, so that a sanitizer instruments kernels and not the runtime.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/status.h"

namespace hn::simt {

struct Dim3 {
  unsigned x, y, z;
  constexpr Dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

/// Where the running thread stands: CUDA's built-in variables.
struct Position {
  Dim3 thread, block, block_dim, grid_dim;
};
extern constinit thread_local const Position* here;

inline int lane() { return static_cast<int>(here->thread.x % 32); }

// --- launch (launch.cc)
// -------------------------------------------------------------------------------------------------

struct Launch {
  const char* kernel;  // its name, for reports
  int64_t blocks;
  int threads;
  size_t smem_bytes;
};
/// Runs body(call) once for each thread of the grid; back when all are done. device_error, after a report on stderr,
/// when a kernel did what a GPU would not forgive.
Status launch(const Launch& launch, void (*body)(const void* call), const void* call);

// --- barriers of the block (barrier.cc)
// ---------------------------------------------------------------------------------

constexpr int kAllThreads = -1;
void barrier_sync(int id, int threads);
void barrier_arrive(int id, int threads);
/// __syncthreads that tells for how many threads the predicate holds.
int barrier_count(bool predicate);

// --- warps (warp.cc)
// ----------------------------------------------------------------------------------------------------

void warp_sync(uint32_t mask);
uint64_t shuffle(uint32_t mask, uint64_t value, int source);
uint32_t ballot(uint32_t mask, bool predicate);

// --- shared memory (shared_memory.cc)
// -----------------------------------------------------------------------------------

unsigned char* dynamic_shared();
/// The variable that `place` stands for; the same for every thread of a block.
void* static_shared(const void* place, size_t bytes, size_t align);
/// Bytes that nobody may write: looked at when the block ends. `carved` is what the launch must have asked for so far.
void red_zone(const void* at, size_t bytes, int carved);
uint32_t shared_address(const void* p);

// --- asynchronous copies (async_copy.cc)
// --------------------------------------------------------------------------------

void cp_async(uint32_t dst, const void* src, int bytes, int src_bytes);
void cp_async_commit();
void cp_async_wait(int pending);

// --- tensor cores (tensor_core.cc)
// --------------------------------------------------------------------------------------

enum class Half { bf16, f16 };
void ldmatrix(uint32_t row, uint32_t* r, int count, bool transpose);
void mma_16n8k16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, Half type);
void mma_16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);

}  // namespace hn::simt
