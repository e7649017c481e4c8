// What attention.cc and attention_backward.cc share: how the token axis is cut, what a query sees, and 2^x.
//
// Scores are kept in units of log 2 (scale · log2 e goes into one operand), so that the exponential is 2^x.
#pragma once

#include "core/data_error.h"
#include "core/status.h"
#include "core/tensor_view.h"
#include "cpu/context.h"
#include "cpu/kernels/dispatch.h"
#include "cpu/kernels/gemm.h"

namespace hn::cpu::HN_ISA {

constexpr double kLog2E = 1.4426950408889634;
constexpr double kLn2 = 0.69314718055994531;
/// Mask entries from here down hide the key: masks of the smallest finite float mean that, and would overflow.
constexpr float kHidden = -1e30f;

constexpr int64_t round_up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }
constexpr int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/// 2^x for x below 127, 0 from −126 down and for −inf, NaN kept; 1 ulp. The polynomial is a minimax fit on ±1/2.
inline Vec<float> exp2_of(Vec<float> x) {
  // Adding 1.5 · 2^23 rounds to the nearest integer; the 127 puts the exponent's bias into the low bits.
  constexpr float kRound = 12582912.0f + 127.0f;
  const Vec<float> shifted = x + kRound;
  const Vec<float> f = x - (shifted - kRound);
  Vec<float> p = f * 1.53533620e-4f + 1.33988750e-3f;
  p = p * f + 9.61843692e-3f;
  p = p * f + 5.55033237e-2f;
  p = p * f + 2.40226477e-1f;
  p = p * f + 6.93147182e-1f;
  p = p * f + 1.0f;
  const Vec<float> power = bits_as<Vec<float>>(bits_as<VecMask<float>>(shifted) << 23);
  return x < -126.0f ? Vec<float>{} : p * power;
}
inline Vec<double> exp2_of(Vec<double> x) {
  for (int i = 0; i < kLanes<double>; ++i) x[i] = __builtin_exp2(x[i]);
  return x;
}

/// Queries [q0, q0 + q_count) of a batch item see nothing but keys [k0, k0 + k_count) of it. Packed operands of all
/// segments lie one after another, each segment on whole panels of NR tokens.
struct Segment {
  int64_t batch, q0, q_count, k0, k_count;
  int64_t q_panel, k_panel;  // panels of the segments before
  int64_t task;              // tasks of the segments before; the kernel fills it in
};

struct Segments {
  Segment* items = nullptr;
  int64_t count = 0;
  int64_t q_panels = 0, k_panels = 0;  // of all together

  /// The segment that item `index` falls into, `start` being the number of items before a segment.
  const Segment& find(int64_t index, int64_t Segment::*start) const {
    int64_t low = 0, high = count - 1;
    while (low < high) {
      const int64_t middle = (low + high + 1) / 2;
      if (items[middle].*start <= index)
        low = middle;
      else
        high = middle - 1;
    }
    return items[low];
  }

  void add(int64_t width, int64_t batch, int64_t q0, int64_t q_end, int64_t k0, int64_t k_end) {
    items[count++] = {batch, q0, q_end - q0, k0, k_end - k0, q_panels, k_panels, 0};
    q_panels += ceil_div(q_end - q0, width);
    k_panels += ceil_div(k_end - k0, width);
  }
};

inline bool are_lengths(const int32_t* cu, int64_t n, int64_t end) {
  if (cu[0] != 0 || cu[n] > end) return false;
  for (int64_t i = 0; i < n; ++i)
    if (cu[i] > cu[i + 1]) return false;
  return true;
}

/// One segment for each batch item, or those of cu_seqlens. `width`: tokens of a panel.
inline Status make_segments(const Context& ctx, int64_t width, const TensorView& q, const TensorView& k,
                            const TensorView& cu_q, const TensorView& cu_k, Segments* out) {
  const int64_t queries = q.dim(1), keys = k.dim(1);
  const int64_t n = cu_q ? cu_q.dim(0) - 1 : q.dim(0);
  out->items = ctx.workspace<Segment>(n + 2);
  if (out->items == nullptr) return Status::no_memory();
  if (!cu_q) {
    for (int64_t b = 0; b < n; ++b) out->add(width, b, 0, queries, 0, keys);
    return {};
  }
  const int32_t* qs = cu_q.as<int32_t>();
  const int32_t* ks = cu_k ? cu_k.as<int32_t>() : qs;
  if (!are_lengths(qs, n, queries)) return status_of(DataError::cu_seqlens);
  if (!are_lengths(ks, n, keys)) return status_of(DataError::cu_seqlens_k);
  for (int64_t i = 0; i < n; ++i) out->add(width, 0, qs[i], qs[i + 1], ks[i], ks[i + 1]);
  // Tokens after the last segment: queries that see no key, keys that no query sees.
  out->add(width, 0, qs[n], queries, ks[n], ks[n]);
  out->add(width, 0, queries, queries, ks[n], keys);
  return {};
}

/// What a query sees is always the first keys of its segment, and later queries see no fewer.
struct Visibility {
  bool causal;
  int64_t frame_tokens;  // 0: no frames

  /// Number of keys that query i sees; both count from the segment's start.
  int64_t limit(const Segment& s, int64_t i) const {
    if (causal) return most(0, least(s.k_count, i + 1 + s.k_count - s.q_count));
    if (frame_tokens > 0) return least(s.k_count, (i / frame_tokens + 1) * frame_tokens);
    return s.k_count;
  }
  /// The first query that sees key j.
  int64_t first_query(const Segment& s, int64_t j) const {
    if (causal) return most(0, j - (s.k_count - s.q_count));
    return frame_tokens > 0 ? j / frame_tokens * frame_tokens : 0;
  }
};

/// One head of [B, S, H, D] as a matrix of tokens by width, whatever the outer strides.
inline Matrix head_matrix(const TensorView& t, int64_t batch, int64_t head) {
  Matrix m;
  m.data = t.at(batch * t.strides[0] + head * t.strides[2]);
  m.dtype = t.dtype;
  m.row_stride = t.strides[1];
  m.col_stride = t.strides[3];
  return m;
}

/// Entries of keys [first, first + n) of a batch item, in units of log 2.
template <class Acc>
inline void load_mask(const TensorView& mask, int64_t batch, int64_t first, int64_t n, Acc* out) {
  const float* from = mask.as<float>() + batch * mask.strides[0] + first * mask.strides[1];
  for (int64_t j = 0; j < n; ++j) {
    const float m = from[j * mask.strides[1]];
    out[j] = m <= kHidden ? -Acc(__builtin_inf()) : Acc(m) * Acc(kLog2E);
  }
}

template <class Acc>
inline void multiply_rows(Acc* a, int64_t ld, int64_t rows, int64_t n, Acc factor) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < n; ++i) a[r * ld + i] *= factor;
}

/// Cut of the work, in tokens and elements.
template <class Acc>
struct AttentionBlocking {
  /// Keys of a block of scores, and the longest piece of a head's width that the micro-kernel takes at once.
  static constexpr int64_t kKeys = 2048 / static_cast<int64_t>(sizeof(Acc));
  static constexpr int kLd = static_cast<int>(kKeys) + 64 / static_cast<int>(sizeof(Acc));
  static constexpr int64_t kRows = MR<Acc> * (112 / MR<Acc>);
};

/// A operand for the micro-kernels: `count` tokens of a head from `first` on, times `factor`, cut along the head's
/// width into pieces [rows][kLd].
template <class Acc>
inline void load_rows(const Matrix& head, int64_t first, int64_t count, int64_t width, Acc factor, int64_t rows,
                      Acc* to) {
  using B = AttentionBlocking<Acc>;
  const RowMajorA<Acc> source(head);
  for (int64_t d = 0; d < width; d += B::kKeys, to += rows * B::kLd) {
    const int64_t n = least(B::kKeys, width - d);
    source.rows(to, B::kLd, 0, first, count, d, n);
    if (factor != Acc(1)) multiply_rows(to, B::kLd, count, n, factor);
  }
}
/// Elements that load_rows writes.
template <class Acc>
constexpr int64_t rows_elements(int64_t width, int64_t rows) {
  return most(1, ceil_div(width, AttentionBlocking<Acc>::kKeys)) * rows * AttentionBlocking<Acc>::kLd;
}

/// c[m][n_panels · NR] = A Bᵀ over the whole width of a head: A from load_rows, B in panels [width][NR].
template <class Acc>
inline void multiply_heads(const Acc* a, int64_t rows, int64_t m, const Acc* b, int64_t n_panels, int64_t width,
                           Acc* c) {
  using B = AttentionBlocking<Acc>;
  for (int64_t d = 0; d == 0 || d < width; d += B::kKeys, a += rows * B::kLd)
    micro_block<Acc, B::kLd>(a, m, b + d * NR<Acc>, width * NR<Acc>, n_panels, least(B::kKeys, width - d), c, B::kLd,
                             d > 0);
}

}  // namespace hn::cpu::HN_ISA
