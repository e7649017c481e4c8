// The online softmax of a warp's rows, on fragments: place h of fragment m is row 16 · m + 8 · h + lane / 4, which four
// lanes share.
//
// Output and sums are rescaled only when a row's maximum grows by more than 2^8: probabilities may exceed 1 by that
// much, and the division at the end mends it.
#pragma once

#include "cuda/device/attention_tile.cuh"

namespace hn::cuda::attn {

template <int kFragments>
struct RowState {
  float max[kFragments][2];
  float sum[kFragments][2];  // of this lane's columns

  HN_DEVICE RowState() {
#pragma unroll
    for (int m = 0; m < kFragments; ++m) {
      max[m][0] = max[m][1] = -infinity();
      sum[m][0] = sum[m][1] = 0;
    }
  }
  /// What scores are taken relative to. A row that has seen no key yet gets 2^(−inf − 0) = 0 instead of NaN.
  HN_DEVICE float base(int m, int h) const { return max[m][h] == -infinity() ? 0 : max[m][h]; }

  /// What to multiply the output with at the end; lse of the row in `lse`.
  HN_DEVICE float finish(int m, int h, bool broken, float* lse) const {
    const float total = row_sum(sum[m][h]), nothing = broken ? not_a_number() : 0.0f;
    const bool hidden = max[m][h] == -infinity();
    *lse = hidden ? max[m][h] + nothing : kLn2 * max[m][h] + logf(total);
    return hidden ? nothing : 1.0f / total;
  }
};

/// S in units of log 2 with the mask added, where that is more than one factor. mask: of the tile's keys, or nullptr.
template <int kFragments, int kColumns>
HN_DEVICE void scale_and_mask(float (&s)[kFragments][kColumns][4], float scale_log2, const float* mask) {
#pragma unroll
  for (int n = 0; n < kColumns; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float add = mask != nullptr ? mask_log2(mask[n * 8 + lane_id() % 4 * 2 + i]) : 0.0f;
#pragma unroll
      for (int m = 0; m < kFragments; ++m) {
        s[m][n][i] = s[m][n][i] * scale_log2 + add;
        s[m][n][2 + i] = s[m][n][2 + i] * scale_log2 + add;
      }
    }
  }
}

/// Raises the maxima of all rows when that of one has grown by much; the same decision in every lane.
template <int kFragments, int kOut>
HN_DEVICE void raise(RowState<kFragments>& rows, float (&out)[kFragments][kOut][4], const float (&top)[kFragments][2]) {
  constexpr float kMuch = 8;
  bool grows = false;
#pragma unroll
  for (int m = 0; m < kFragments; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) grows = grows || top[m][h] > rows.max[m][h] + kMuch;
  }
  if (!__any_sync(kFullMask, grows)) return;
#pragma unroll
  for (int m = 0; m < kFragments; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float before = rows.max[m][h];
      rows.max[m][h] = fmaxf(before, top[m][h]);
      const float factor = ptx::exp2_approx(before - rows.base(m, h));
      rows.sum[m][h] *= factor;
#pragma unroll
      for (int n = 0; n < kOut; ++n) {
        out[m][n][2 * h] *= factor;
        out[m][n][2 * h + 1] *= factor;
      }
    }
  }
}

/// Scores become 2^(factor · score − max), factor > 0, and sums and output are brought to that maximum.
template <int kFragments, int kColumns, int kOut>
HN_DEVICE void softmax(float (&s)[kFragments][kColumns][4], float factor, RowState<kFragments>& rows,
                       float (&out)[kFragments][kOut][4]) {
  float top[kFragments][2];
#pragma unroll
  for (int m = 0; m < kFragments; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float best = fmaxf(s[m][0][2 * h], s[m][0][2 * h + 1]);
#pragma unroll
      for (int n = 1; n < kColumns; ++n) best = fmaxf(best, fmaxf(s[m][n][2 * h], s[m][n][2 * h + 1]));
      top[m][h] = row_max(best) * factor;
    }
  }
  raise(rows, out, top);
#pragma unroll
  for (int m = 0; m < kFragments; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float base = rows.base(m, h);
#pragma unroll
      for (int n = 0; n < kColumns; ++n) {
#pragma unroll
        for (int i = 2 * h; i < 2 * h + 2; ++i) {
          s[m][n][i] = ptx::exp2_approx(s[m][n][i] * factor - base);
          rows.sum[m][h] += s[m][n][i];
        }
      }
    }
  }
}

}  // namespace hn::cuda::attn
