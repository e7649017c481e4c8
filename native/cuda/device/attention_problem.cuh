// What every attention kernel is told, and where a block stands in it: operands as heads, segments of ragged batches,
// and which columns a row sees.
//
// A kernel works on tiles of rows against the columns that they see. Rows are queries and columns keys, or
// (kKeysAreRows, for dK and dV) the other way round. What a row sees is always one run of columns of its own segment,
// and both ends of the run only grow from row to row: a tile needs no more than the limits of its first and its last
// row.
#pragma once

#include "core/tensor_view.h"
#include "cuda/device/storage.cuh"
#include "cuda/device/words.cuh"

namespace hn::cuda::attn {

constexpr float kLog2E = 1.4426950408889634f;
constexpr float kLn2 = 0.69314718055994531f;
/// Mask entries from here down hide the key: masks of the smallest finite float mean that, and would overflow.
constexpr float kHiddenKey = -1e30f;

HN_DEVICE float infinity() { return ptx::bits_float(0x7f800000u); }
HN_DEVICE float not_a_number() { return ptx::bits_float(0x7fc00000u); }

/// The tokens of one head of a batch item.
template <class T>
struct Tokens {
  T* data;
  int64_t pitch, step;  // from token to token, from element to element
  int width;
  bool packed;  // every token can be read and written in whole packs of 16 bytes

  HN_DEVICE T* at(int64_t token) const { return data + token * pitch; }
  /// Counted from this token on.
  HN_DEVICE Tokens from(int64_t token) const { return {at(token), pitch, step, width, packed}; }
  /// Their elements from this one on, a multiple of 8.
  HN_DEVICE Tokens elements_from(int element) const {
    return {data + element * step, pitch, step, width - element, packed};
  }
};

/// [B, S, H, D] of any strides.
template <class T>
struct Heads {
  T* data = nullptr;
  int64_t batch_stride = 0, token_stride = 0, head_stride = 0, step = 0;
  int width = 0;
  bool packed = false;

  Heads() = default;
  explicit Heads(const TensorView& t)
      : data(t.as<T>()),
        batch_stride(t.strides[0]),
        token_stride(t.strides[1]),
        head_stride(t.strides[2]),
        step(t.strides[3]),
        width(static_cast<int>(t.shape[3])),
        packed(packs(t)) {}

  HN_DEVICE explicit operator bool() const { return data != nullptr; }
  HN_DEVICE Tokens<T> head(int64_t batch, int64_t index) const {
    return {data + batch * batch_stride + index * head_stride, token_stride, step, width, packed};
  }
};

/// Both masks are of a query's own segment, positions counted from where it starts.
enum class Sees : int {
  all,
  causal,  // keys 0 … i + keys − queries
  frames,  // the keys of frames up to its own
};

struct Problem {
  int queries, keys, heads, kv_heads;
  float scale_log2;  // scale · log2 e: scores are kept in units of log 2
  Sees sees;
  int frame_tokens;
  const int32_t *cu_queries, *cu_keys;  // nullptr: one segment an item
  int segments;
  const float* key_mask;  // [B, Sk]; nullptr: none
  int64_t mask_batch_stride, mask_step;

  int64_t group() const { return kv_heads > 0 ? heads / kv_heads : 0; }
};

/// For the arguments of attention and of attention_backward alike.
template <class Args>
Problem problem_of(const Args& a) {
  constexpr int64_t kMostTokens = int64_t{1} << 30;  // see tokens_fit; longer frames than that are no different
  Problem p{};
  p.queries = static_cast<int>(a.q.dim(1));
  p.keys = static_cast<int>(a.k.dim(1));
  p.heads = static_cast<int>(a.q.dim(2));
  p.kv_heads = static_cast<int>(a.k.dim(2));
  p.scale_log2 = static_cast<float>(a.scale * 1.4426950408889634);
  p.sees = a.causal ? Sees::causal : a.frame_tokens > 0 ? Sees::frames : Sees::all;
  p.frame_tokens = static_cast<int>(a.frame_tokens < kMostTokens ? a.frame_tokens : kMostTokens);
  if (a.cu_seqlens) {
    p.cu_queries = a.cu_seqlens.template as<int32_t>();
    p.cu_keys = (a.cu_seqlens_k ? a.cu_seqlens_k : a.cu_seqlens).template as<int32_t>();
    p.segments = static_cast<int>(a.cu_seqlens.dim(0) - 1);
  }
  if (a.key_mask) {
    p.key_mask = a.key_mask.template as<float>();
    p.mask_batch_stride = a.key_mask.strides[0];
    p.mask_step = a.key_mask.strides[1];
  }
  return p;
}

/// Positions are int: sums of a position and a tile or a frame must stay below 2^31.
inline bool tokens_fit(const TensorView& q, const TensorView& k) {
  constexpr int64_t kMost = int64_t{1} << 30;
  return q.dim(1) < kMost && k.dim(1) < kMost && q.dim(2) < kMost && q.dim(3) < kMost;
}

/// Rows [row, row + rows) of the token axis against columns [col, col + cols).
struct Segment {
  int row, rows, col, cols;
  bool broken;  // cu_seqlens falls or leaves the axis: results are NaN, as nothing better can be said from here
};

/// Runs of columns, [begin, end), counted from the segment's first.
struct Run {
  int begin, end;
};

template <bool kKeysAreRows>
HN_DEVICE Run columns_seen(const Problem& p, const Segment& s, int row) {
  Run run{0, s.cols};
  if constexpr (kKeysAreRows) {
    if (p.sees == Sees::causal) run.begin = row - (s.rows - s.cols);
    if (p.sees == Sees::frames) run.begin = row / p.frame_tokens * p.frame_tokens;
    run.begin = max(0, min(run.begin, s.cols));
  } else {
    if (p.sees == Sees::causal) run.end = row + 1 + s.cols - s.rows;
    if (p.sees == Sees::frames) run.end = (row / p.frame_tokens + 1) * p.frame_tokens;
    run.end = max(0, min(run.end, s.cols));
  }
  return run;
}

/// What a tile, or a warp's part of it, works through: rows first … last of a segment.
struct Span {
  Run any;    // columns that at least one of the rows sees
  Run whole;  // columns that all of them see; may be empty the wrong way round
};

template <bool kKeysAreRows>
HN_DEVICE Span span_of(const Problem& p, const Segment& s, int first, int last) {
  if (first > last) return {{0, 0}, {0, 0}};
  const Run top = columns_seen<kKeysAreRows>(p, s, first), bottom = columns_seen<kKeysAreRows>(p, s, last);
  return {{top.begin, bottom.end}, {bottom.begin, top.end}};
}

/// One head's tiles of kRows rows: in a ragged batch no tile holds rows of two segments.
template <int kRows>
int64_t tiles_of(int64_t rows, const Problem& p) {
  return p.cu_queries == nullptr ? (rows + kRows - 1) / kRows : rows / kRows + p.segments + 1;
}

/// A block's part: kRows rows of one head from row `first` of a segment on.
struct Tile {
  int batch, head;
  int first;
  Segment segment;

  /// The last of its rows that the segment has.
  HN_DEVICE int last(int rows) const { return min(first + rows, segment.rows) - 1; }
};

/// Cuts the axes where cu_rows and cu_cols say, for tile `index` of the head; false when there are fewer. Every warp
/// finds out for itself: no barrier. All entries are looked at each time, to know whether they rise.
template <int kRows>
HN_DEVICE bool find_segment(const int32_t* cu_rows, const int32_t* cu_cols, int segments, int rows, int cols, int index,
                            Tile* tile) {
  // Segment number `segments` stands for the rows after the last one, which see nothing.
  int before = 0, found = -1;
  bool rises = cu_rows[0] == 0 && cu_cols[0] == 0;
  for (int base = 0; base <= segments; base += kWarp) {
    const int s = base + lane_id();
    int tiles = 0;
    if (s <= segments) {
      const int begin = cu_rows[s], end = s < segments ? cu_rows[s + 1] : rows;
      const int col = cu_cols[s], col_end = s < segments ? cu_cols[s + 1] : cols;
      if (begin > end || end > rows || col > col_end || col_end > cols) rises = false;
      tiles = (end - begin + kRows - 1) / kRows;
    }
    int through = tiles;  // tiles of the lanes up to this one
#pragma unroll
    for (int d = 1; d < kWarp; d *= 2) {
      const int other = __shfl_up_sync(kFullMask, through, d);
      if (lane_id() >= d) through += other;
    }
    const uint32_t beyond = __ballot_sync(kFullMask, before + through > index);
    if (found < 0 && beyond != 0) {
      const int lane = __ffs(static_cast<int>(beyond)) - 1;
      found = base + lane;
      tile->first = (index - before - __shfl_sync(kFullMask, through - tiles, lane)) * kRows;
    }
    before += __shfl_sync(kFullMask, through, kWarp - 1);
  }
  if (!__all_sync(kFullMask, rises)) {
    tile->first = index * kRows;
    tile->segment = {0, rows, 0, 0, true};
    return tile->first < rows;
  }
  if (found < 0) return false;
  const int begin = cu_rows[found], col = cu_cols[found];
  const bool real = found < segments;
  tile->segment = {begin, (real ? cu_rows[found + 1] : rows) - begin, col, real ? cu_cols[found + 1] - col : 0, false};
  return true;
}

/// Where block number `block` works, `tiles` being tiles_of a head; false when it has nothing to do.
template <int kRows, bool kKeysAreRows>
HN_DEVICE bool find_tile(const Problem& p, int block, int tiles, Tile* tile) {
  const int heads = kKeysAreRows ? p.kv_heads : p.heads;
  const int item = block / tiles;
  // Where rows see more and more columns, those that see most come first: long tiles should not come last.
  const int index = kKeysAreRows ? block % tiles : tiles - 1 - block % tiles;
  tile->batch = item / heads;
  tile->head = item % heads;
  const int rows = kKeysAreRows ? p.keys : p.queries, cols = kKeysAreRows ? p.queries : p.keys;
  if (p.cu_queries == nullptr) {
    tile->first = index * kRows;
    tile->segment = {0, rows, 0, cols, false};
    return true;
  }
  return find_segment<kRows>(kKeysAreRows ? p.cu_keys : p.cu_queries, kKeysAreRows ? p.cu_queries : p.cu_keys,
                             p.segments, rows, cols, index, tile);
}

/// An entry of the mask in units of log 2.
HN_DEVICE float mask_log2(float entry) { return entry <= kHiddenKey ? -infinity() : entry * kLog2E; }

}  // namespace hn::cuda::attn
