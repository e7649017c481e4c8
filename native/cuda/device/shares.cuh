// Sums over rows that come out the same, byte for byte, on every device: rows are cut into chunks by the shape alone, a
// kernel leaves a share for each chunk, and a second kernel adds the shares in a fixed order.
#pragma once

#include <algorithm>
#include <type_traits>

#include "cuda/device/any_ptr.cuh"
#include "cuda/device/divider.cuh"
#include "cuda/device/shared.cuh"
#include "cuda/launch.h"

namespace hn::cuda {

/// Rows [begin, end) of one group.
struct RowSpan {
  int64_t group, begin, end;
};

/// `groups` times `rows` consecutive rows, cut into chunks that never cross a group: at least `least` rows each (but
/// where a group ends), and so long that there are about `most` chunks at most, so that shares are few beside rows.
class RowChunks {
 public:
  static constexpr int64_t kMost = 1024;

  RowChunks(int64_t groups, int64_t rows, int64_t least, int64_t most = kMost) : groups_(groups), rows_(rows) {
    const int64_t allowed = std::max<int64_t>(most / std::max<int64_t>(groups, 1), 1);
    chunk_ = std::max(least, ceil_div(rows, allowed));
    per_group_ = Divider(ceil_div(rows, chunk_));
    count_ = groups * per_group();
  }

  int64_t groups() const { return groups_; }
  int64_t per_group() const { return per_group_.divisor(); }
  HN_HOST_DEVICE int64_t count() const { return count_; }

  HN_DEVICE RowSpan span(int64_t chunk) const {
    int64_t group = chunk;
    const int64_t first = per_group_.split(group) * chunk_;
    const int64_t start = group * rows_;
    return {group, start + first, start + min(first + chunk_, rows_)};
  }

 private:
  int64_t groups_, rows_, chunk_, count_;
  Divider per_group_;
};

/// out[b, i] = Σ_g shares[b · groups + g, i] for i < width; shares lie `pitch` apart in f32, out is dense. A block adds
/// kColumns columns, kSlices threads to each.
template <int kColumns, int kSlices>
__global__ void __launch_bounds__(kColumns* kSlices)
    add_shares_kernel(const float* shares, int64_t groups, int64_t pitch, int64_t width, Divider tiles, AnyOut out) {
  int64_t batch = blockIdx.x;
  const int column = static_cast<int>(threadIdx.x) % kColumns, slice = static_cast<int>(threadIdx.x) / kColumns;
  const int64_t i = tiles.split(batch) * kColumns + column;
  // Four chains hide the latency of the loads, and round less than one.
  float chain[4] = {};
  if (i < width) {
    const float* const from = shares + batch * groups * pitch + i;
    int64_t g = slice;
    for (; g + 3 * kSlices < groups; g += 4 * kSlices) {
#pragma unroll
      for (int c = 0; c < 4; ++c) chain[c] += from[(g + c * kSlices) * pitch];
    }
    for (; g < groups; g += kSlices) chain[0] += from[g * pitch];
  }
  float sum = (chain[0] + chain[1]) + (chain[2] + chain[3]);
  if constexpr (kSlices > 1) {
    HN_SHARED(float, sums, [kSlices][kColumns]);
    sums[slice][column] = sum;
    __syncthreads();
    if (slice > 0) return;
#pragma unroll
    for (int s = 1; s < kSlices; ++s) sum += sums[s][column];
  }
  if (i < width) out.store(batch * width + i, sum);
}

/// `batches` sums of `groups` shares each, of which the first `width` of `pitch` numbers are added up. The sum of none
/// is 0.
inline Status add_shares(const Context& ctx, const float* shares, int64_t batches, int64_t groups, int64_t pitch,
                         int64_t width, AnyOut out) {
  const auto launch = [&](auto columns, auto slices) {
    const int64_t tiles = ceil_div(width, columns());
    return HN_LAUNCH((add_shares_kernel<columns(), slices()>), batches * tiles, columns() * slices(), 0, ctx, shares,
                     groups, pitch, width, Divider(tiles), out);
  };
  // Many shares are read side by side: one thread to a column would wait for each of them.
  using std::integral_constant;
  return groups < 64 ? launch(integral_constant<int, 128>{}, integral_constant<int, 1>{})
                     : launch(integral_constant<int, 32>{}, integral_constant<int, 16>{});
}

/// out[i] = Σ_g shares[g, i]; shares is [groups, width] in f32, out is dense.
inline Status add_shares(const Context& ctx, const float* shares, int64_t groups, int64_t width,
                         const TensorView& out) {
  return add_shares(ctx, shares, 1, groups, width, width, AnyOut(out));
}

/// Numbers in f32, for a sum that is needed further on.
inline AnyOut any_out(float* data) {
  AnyOut out;
  out.data = data;
  return out;
}

}  // namespace hn::cuda
