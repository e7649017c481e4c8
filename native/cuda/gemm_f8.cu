// Matrix products with a weight in f8e4m3, widened to the other operand's type (exactly: 3 bits of mantissa) on the way
// to shared memory, then as in gemm_bf16.cu. A scale for the whole weight or for each row of the result's columns is
// left to the epilogue; factors along K (a scale for each row of the weight, in the gradient of its input) multiply the
// weight before it is rounded to bf16. f16 has too little range for that: the plain kernel takes such products.
//
// Bytes: 2 M K + K N + size(C); FLOPs: 2 M N K. Bound by tensor cores, beside some 50 instructions for eight weights.
#include "cuda/device/gemm_kernel.cuh"

namespace hn::cuda {
namespace {

/// Fewer of the weight's columns than in gemm_kernel.cuh: each is widened for twice as many rows, by fewer registers.
using LargeF8Tile = TileConfig<256, 128, 32, 4, 2, 4, 1>;

template <class T, class C, Major kB>
Status launch(const GemmLaunch& l) {
  return launch_gemm<C, T, MatrixLoader<T, C, C::kM, Major::k, true>, F8Loader<T, C, C::kN, kB>>(l);
}

template <class T>
Status launch(const GemmLaunch& l) {
  if (l.gemm.b_major == Major::k) {
    return l.choice.large ? launch<T, LargeF8Tile, Major::k>(l) : launch<T, SmallTile, Major::k>(l);
  }
  return l.choice.large ? launch<T, LargeF8Tile, Major::mn>(l) : launch<T, SmallTile, Major::mn>(l);
}

}  // namespace

Status gemm_f8(const GemmLaunch& l) {
  return with_types<bf16, f16>(l.gemm.a.dtype, [&](auto t) { return launch<decltype(t)>(l); });
}

}  // namespace hn::cuda
