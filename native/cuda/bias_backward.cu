// Gradient of a bias over the last axis, C elements a row: db = Σ_rows dy.
//
// dy [..., C] of any strides, f32, bf16 or f16; db [C] in f32, as are the sums. Bytes: size(dy), each read once; FLOPs:
// one an element. Bound by memory: [118800, 3072] in bf16 is 730 MB.
//
// A block takes up to 32 packs of columns and a group of rows, its eight warps every eighth row; their sums are added
// in order, then the groups' are. How rows are grouped depends on the shape alone.
#include "core/generated/bias.h"
#include "cuda/device/reduce.cuh"
#include "cuda/device/rows.cuh"
#include "cuda/device/shares.cuh"
#include "cuda/launch.h"
#include "cuda/support.h"

namespace hn::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;

/// shares: [groups, width]; blocks are [groups, column blocks].
template <class T, int kPackSize>
__global__ void __launch_bounds__(kThreads, 1)
    sum_rows_kernel(Rows<T> dy, float* shares, int64_t rows, int64_t group_rows, int64_t width, int64_t column_blocks) {
  constexpr int kColumns = kWarp * kPackSize;
  HN_SHARED(float, sums, [kWarps][kColumns]);
  const int64_t group = blockIdx.x / column_blocks, first = (blockIdx.x - group * column_blocks) * kColumns;
  const int64_t begin = group * group_rows, end = min(begin + group_rows, rows);
  const int64_t column = first + lane_id() * kPackSize;
  float sum[kPackSize] = {};
  if (column < width) {
#pragma unroll 4
    for (int64_t row = begin + warp_id(); row < end; row += kWarps) {
      float v[kPackSize];
      dy.load(dy.row(row), column, v);
#pragma unroll
      for (int k = 0; k < kPackSize; ++k) sum[k] += v[k];
    }
  }
  // Lane l's element k stands at k · 32 + l, so that lanes write to different banks.
#pragma unroll
  for (int k = 0; k < kPackSize; ++k) sums[warp_id()][k * kWarp + lane_id()] = sum[k];
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kColumns; i += kThreads) {
    if (first + i >= width) break;
    const int place = i % kPackSize * kWarp + i / kPackSize;
    float total = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) total += sums[w][place];
    shares[group * width + first + i] = total;
  }
}

/// Rows a block sums: enough blocks to fill a device, and enough rows that their shares are few beside what is read.
int64_t rows_per_group(int64_t rows, int64_t width) {
  constexpr int64_t kMinRows = 64, kBlocks = 2048, kBlockColumns = 256;
  return std::max(kMinRows, ceil_div(rows * ceil_div(width, kBlockColumns), kBlocks));
}

}  // namespace

HN_SUPPORTS(bias_backward, kFloats);

Status bias_backward(const Context& ctx, const BiasBackwardArgs& a) {
  const int64_t rows = a.dy.rows(), width = a.dy.dim(-1);
  const int64_t group_rows = rows_per_group(rows, width), groups = ceil_div(rows, group_rows);
  float* const shares = ctx.workspace<float>(groups * width);
  if (shares == nullptr) return Status::no_memory();
  const Status summed = with_storage(a.dy.dtype, [&](auto storage) {
    using T = decltype(storage);
    const auto launch = [&](auto pack) -> Status {
      const int64_t column_blocks = ceil_div(width, kWarp * pack());
      return HN_LAUNCH((sum_rows_kernel<T, pack()>), groups * column_blocks, kThreads, 0, ctx, Rows<T>(a.dy), shares,
                       rows, group_rows, width, column_blocks);
    };
    if (packs(a.dy)) return launch(std::integral_constant<int, kPack<T>>{});
    return launch(std::integral_constant<int, 1>{});
  });
  HN_RETURN_IF_ERROR(summed);
  return add_shares(ctx, shares, groups, width, a.dbias);
}

}  // namespace hn::cuda
