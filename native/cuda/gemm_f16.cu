// Matrix products of f16 operands on tensor cores (mma.sync m16n8k16), sums in f32. The math, the shapes and what is
// done with sums: gemm.h; the loop: device/gemm_tile.cuh.
//
// A and B each stored along K or across it, any strides, K, M and N; copies of 16 bytes where both are aligned to that,
// else of 8 or 4 bytes or single elements, with the small tile.
// Bytes: 2 · (M K + K N) + size(C); FLOPs: 2 M N K. Bound by tensor cores where M, N and K are large: [118800, 3072] by
// [3072, 12288] is 9.0 TFLOP. mma.sync is expected to reach about 60 % of what wgmma does on sm_90.
#include "cuda/device/gemm_halves.cuh"

namespace hn::cuda {

Status gemm_f16(const GemmLaunch& launch, bool wide) { return launch_halves<f16>(launch, wide); }

}  // namespace hn::cuda
