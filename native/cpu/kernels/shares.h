// Sums over rows that come out the same, byte for byte, whatever thread added what: rows are cut into chunks by the
// shape alone, each chunk adds up a share of its own, and the shares are added in order.
#pragma once

#include "cpu/context.h"
#include "cpu/kernels/dispatch.h"
#include "cpu/kernels/rows.h"

namespace hn::cpu::HN_ISA {

/// `groups` times `rows` rows of `width` elements, cut into chunks that never cross a group. There are few chunks, so
/// that their shares are small beside the rows themselves.
struct RowChunks {
  int64_t groups, rows, chunk, per_group;

  RowChunks(int64_t group_count, int64_t rows_in_group, int64_t width) : groups(group_count), rows(rows_in_group) {
    constexpr int64_t kMostShares = 256;
    const int64_t allowed = kMostShares / (groups > 0 ? groups : 1);
    const int64_t least = rows_per_chunk(width), even = ceil_div(rows, allowed > 0 ? allowed : 1);
    chunk = least > even ? least : even;
    per_group = ceil_div(rows, chunk);
  }

  int64_t count() const { return groups * per_group; }
  int64_t group(int64_t c) const { return c / per_group; }
  int64_t begin(int64_t c) const { return group(c) * rows + c % per_group * chunk; }
  int64_t end(int64_t c) const {
    const int64_t stop = group(c) * rows + (c % per_group + 1) * chunk, last = (group(c) + 1) * rows;
    return stop < last ? stop : last;
  }
};

/// Columns that one task adds up; two sums of them fit a thread's first-level cache.
constexpr int64_t kShareColumns = 512;

/// sum[j] = Σ shares[c][column + j] for c in [0, count), in that order; a share is `stride` elements from the next.
template <class Acc>
inline void add_in_order(const Acc* shares, int64_t stride, int64_t count, int64_t column, int64_t n, Acc* sum) {
  for (int64_t j = 0; j < n; ++j) sum[j] = 0;
  for (int64_t c = 0; c < count; ++c) {
    const Acc* share = shares + c * stride + column;
    for (int64_t j = 0; j < n; ++j) sum[j] += share[j];
  }
}

/// Each row of `out` becomes the sum of the shares of its group.
template <class Acc>
inline void store_share_sums(const Context& ctx, const Acc* shares, int64_t stride, const RowChunks& chunks,
                             const TensorView& out) {
  const Rows<Acc> rows(out);
  const int64_t width = rows.width(), blocks = ceil_div(width, kShareColumns);
  ctx.parallel_for(chunks.groups * blocks, [&](int64_t task) {
    const int64_t group = task / blocks, column = task % blocks * kShareColumns;
    const int64_t n = width - column < kShareColumns ? width - column : kShareColumns;
    Acc sum[kShareColumns];
    add_in_order(shares + group * chunks.per_group * stride, stride, chunks.per_group, column, n, sum);
    rows.store_part(group, column, n, sum);
  });
}

}  // namespace hn::cpu::HN_ISA
