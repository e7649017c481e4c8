// The matrix product under linear and matmul, C[M, N] = A[M, K] B[K, N] for each of a batch with f32 sums, on the
// host's side: what is multiplied, how a kernel is chosen, and the launchers of each kind (gemm_*.cu). See
// gemm_tile.cuh.
#pragma once

#include "core/generated/linear.h"
#include "cuda/device/gemm_epilogue.cuh"
#include "cuda/device/gemm_loaders.cuh"
#include "cuda/launch.h"

namespace hn::cuda {

/// Passed to kernels by value.
struct Gemm {
  int64_t m = 0, n = 0, batch = 1;
  int64_t k = 0;
  Matrix a, b;
  Major a_major = Major::k, b_major = Major::k;
  AnyPtr k_factors;  // f32, [K]: row k of B is multiplied by factor k; may be missing
  EpilogueArgs epilogue;
};

/// How K is cut and which tile is taken; prints itself.
struct GemmChoice {
  bool large;       // 128 × 256, else 64 × 64
  int splits;       // parts of K that are summed apart and then added in order
  int64_t k_split;  // length of each but the last; a multiple of kSplitUnit

  int describe(char* text, int size) const;
};

constexpr int64_t kSplitUnit = 32;

/// Splits depend on the shape alone, so that sums are the same on every device; the tile, which sums do not depend on,
/// on the number of multiprocessors too.
GemmChoice choose_config(int64_t m, int64_t n, int64_t k, int64_t batch, int sm_count);

/// A tensor's rows as a matrix: [..., C] of any strides.
Matrix rows_matrix(const TensorView& t);
/// The last two axes as a matrix, those before as a batch.
Matrix batched_matrix(const TensorView& t);

/// Any shape, 0 included, and any float types. Status::missing for K of 2^31 and more.
Status gemm(const Context& ctx, const Gemm& g);

// --- the kinds; `shares` is where parts of K are summed, [splits, batch, M, N rounded up to 8] in f32, or nullptr
// ---------

struct GemmLaunch {
  const Context& ctx;
  const Gemm& gemm;
  GemmChoice choice;
  float* shares;
};

/// A and B both bf16 or f16. `wide`: both are aligned to 16 bytes.
Status gemm_bf16(const GemmLaunch& launch, bool wide);
Status gemm_f16(const GemmLaunch& launch, bool wide);
/// B in f8e4m3, A in bf16 or f16 and aligned to 16 bytes and stored [M, K].
Status gemm_f8(const GemmLaunch& launch);
/// Any types, products in f32.
Status gemm_plain(const GemmLaunch& launch);

/// M ≤ kMaxVectorRows, B stored [N, K]; false where it does not fit.
constexpr int64_t kMaxVectorRows = 8;
bool fits_gemm_vector(const Gemm& g);
Status gemm_vector(const Context& ctx, const Gemm& g);

}  // namespace hn::cuda
