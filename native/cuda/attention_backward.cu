// Gradients of attention on tensor cores, from probabilities made again out of lse. With scores in units of log 2, for
// query i and key j:
//   P = 2^(s_ij − lse_i · log2 e),  dP = dout_i · v_j,  dS = P · (dP − delta_i),  delta_i = dout_i · o_i − dlse_i
//   dv_j = Σ_i P dout_i,   dk_j = scale · Σ_i dS q_i,   dq_i = scale · Σ_j dS k_j
//
// q, k, v, dout and the gradients [B, S, H, D] of any strides, bf16 or f16, D and Dv up to 128; lse and delta in f32.
// Sums are f32; P and dS are rounded to the storage type for the products that they go into, gradients once at the end.
// Bytes: q, k, v, dout and gradients once; the streamed pair again for every tile of 128 rows, from L2. FLOPs: 14 · Sq
// · Sk · D a head, 10 of which would do if dq's sums could be taken along. Bound: tensor cores, and near them the reads
// of fragments from shared memory.
//
// Two kernels of the same form, so that every sum is made by one warp in one order, without atomics. One walks over the
// keys for a tile of queries and sums dq; the other over the queries, of all heads that share a key head, for a tile of
// keys, and sums dk and dv. Both hold a pair of tiles (q and dout; k and v), stream the other pair, and take scores
// with their rows along the sums: P and dS go from the registers where they arise straight into the next product. 8
// warps of 16 rows; the streamed tiles are double-buffered, with one barrier a tile. After Dao, FlashAttention-2 (arXiv
// 2307.08691).
#include "cuda/attention.h"
#include "cuda/device/attention_tile.cuh"
#include "cuda/device/shared.cuh"
#include "cuda/launch.h"

namespace hn::cuda::attn {
namespace {

template <class T_, int kWidth_, bool kKeysAreRows_>
struct Config {
  using T = T_;
  static constexpr int kWidth = kWidth_;  // of a head, on whole tiles
  static constexpr bool kKeysAreRows = kKeysAreRows_;
  static constexpr int kCols = 64, kWarpRows = 16, kWarps = 8;
  static constexpr int kRows = kWarpRows * kWarps, kThreads = kWarps * kWarp;
  static constexpr int kColumns = kCols / 8;
};

/// Of the pairs, `first` makes scores (q or k), `second` makes dP (dout or v). For each streamed column `added` and
/// `delta`: lse and delta of a query, or in `added` the mask of a key.
template <class C>
struct Smem {
  using T = typename C::T;
  T *row_first, *row_second;
  T *col_first, *col_second;  // two stages
  float *added, *delta;
  Tile* tile;   // this and the next are not held: registers are short
  Span* spans;  // of each warp

  HN_HOST_DEVICE explicit Smem(Carver& carve)
      : row_first(carve.take<T>(C::kRows * C::kWidth, 1024)),
        row_second(carve.take<T>(C::kRows * C::kWidth, 1024)),
        col_first(carve.take<T>(2 * C::kCols * C::kWidth, 1024)),
        col_second(carve.take<T>(2 * C::kCols * C::kWidth, 1024)),
        added(carve.take<float>(2 * C::kCols)),
        delta(carve.take<float>(2 * C::kCols)),
        tile(carve.take<Tile>(1)),
        spans(carve.take<Span>(C::kWarps)) {}

  /// The streamed part of one stage.
  HN_DEVICE Smem at(int stage) const {
    Smem there = *this;
    there.col_first += stage * C::kCols * C::kWidth;
    there.col_second += stage * C::kCols * C::kWidth;
    there.added += stage * C::kCols;
    there.delta += stage * C::kCols;
    return there;
  }
};

/// Operands of both kernels. Where a gradient is not asked for, its `data` is nullptr.
template <class T>
struct Operands {
  Heads<const T> q, k, v, dout;
  Heads<T> dq, dk, dv;
  QueryStats stats;
  float scale;
};

/// The streamed pair of tiles, from one head on after the other.
template <class C>
struct Stream {
  using T = typename C::T;
  Tokens<const T> first, second;
  const float *lse, *delta;  // of queries
  const float* mask;         // of keys
  int64_t mask_step;

  HN_DEVICE Stream(const Problem& p, const Operands<T>& t, const Tile& tile, int head) {
    const int col = tile.segment.col;
    const int64_t query = (static_cast<int64_t>(tile.batch) * p.heads + head) * p.queries + col;
    first = (C::kKeysAreRows ? t.q : t.k).head(tile.batch, head).from(col);
    second = (C::kKeysAreRows ? t.dout : t.v).head(tile.batch, head).from(col);
    lse = t.stats.lse_log2 + query;
    delta = t.stats.delta + query;
    mask = p.key_mask != nullptr ? p.key_mask + tile.batch * p.mask_batch_stride + col * p.mask_step : nullptr;
    mask_step = p.mask_step;
  }

  /// Columns [col, col + kCols) of those before `end`.
  HN_DEVICE void load(const Smem<C>& to, int col, int end) const {
    load_tile<C::kCols, C::kWidth, C::kThreads>(to.col_first, first, col, end);
    load_tile<C::kCols, C::kWidth, C::kThreads>(to.col_second, second, col, end);
    const int lane = static_cast<int>(threadIdx.x), at = min(col + lane, end - 1);
    if (lane >= C::kCols) return;
    if constexpr (C::kKeysAreRows) {
      ptx::cp_async<4>(ptx::smem_u32(to.added + lane), lse + at);
      ptx::cp_async<4>(ptx::smem_u32(to.delta + lane), delta + at);
    } else if (mask != nullptr) {
      ptx::cp_async<4>(ptx::smem_u32(to.added + lane), mask + at * mask_step);
    }
  }
};

/// The same of the two rows of a lane: place h of a warp's 16 rows is row 8 · h + lane / 4.
struct RowScalars {
  float added[2], delta[2];
};

template <bool kKeysAreRows>
HN_DEVICE RowScalars row_scalars(const Problem& p, const QueryStats& stats, const Tile& tile, int warp_first) {
  RowScalars out{{0, 0}, {0, 0}};
  const Segment& s = tile.segment;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = warp_first + h * 8 + lane_id() / 4;
    if constexpr (kKeysAreRows) {
      if (row >= s.rows || p.key_mask == nullptr) continue;
      out.added[h] = mask_log2(p.key_mask[tile.batch * p.mask_batch_stride + (s.row + row) * p.mask_step]);
    } else {
      const int64_t query = (static_cast<int64_t>(tile.batch) * p.heads + tile.head) * p.queries + s.row + row;
      out.added[h] = row < s.rows ? -stats.lse_log2[query] : -infinity();
      if (row < s.rows) out.delta[h] = stats.delta[query];
    }
  }
  return out;
}

template <class C>
using Scores = float[1][C::kColumns][4];

/// Scores become P.
template <class C>
HN_DEVICE void make_probabilities(Scores<C>& s, const Problem& p, const RowScalars& row, const float* added) {
#pragma unroll
  for (int n = 0; n < C::kColumns; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float col = 0;
      if constexpr (C::kKeysAreRows)
        col = -added[n * 8 + lane_id() % 4 * 2 + i];
      else if (p.key_mask != nullptr)
        col = mask_log2(added[n * 8 + lane_id() % 4 * 2 + i]);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float& x = s[0][n][2 * h + i];
        x = ptx::exp2_approx(x * p.scale_log2 + (row.added[h] + col));
      }
    }
  }
}

/// dP becomes dS.
template <class C>
HN_DEVICE void differentiate(Scores<C>& dp, const Scores<C>& probabilities, const RowScalars& row, const float* delta) {
#pragma unroll
  for (int n = 0; n < C::kColumns; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float col = 0;
      if constexpr (C::kKeysAreRows) col = delta[n * 8 + lane_id() % 4 * 2 + i];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float& x = dp[0][n][2 * h + i];
        x = probabilities[0][n][2 * h + i] * (x - (C::kKeysAreRows ? col : row.delta[h]));
      }
    }
  }
}

/// Stores a warp's sums times `factor`, by way of the rows of a tile that it alone has read.
template <class C>
HN_DEVICE void store_sums(const float (&sums)[1][C::kWidth / 8][4], float factor, typename C::T* through,
                          const Heads<typename C::T>& out, const Tile& tile, int warp_row) {
  if (!out) return;
  const Segment& s = tile.segment;
  const float factors[1][2] = {{factor, factor}};
  put_sums<C::kWidth>(through, warp_row, sums, factors);
  __syncwarp();
  store_rows<C::kWarpRows, C::kWidth>(through, warp_row, out.head(tile.batch, tile.head), s.row + tile.first + warp_row,
                                      s.row + s.rows);
}

template <class T, int kWidth, bool kKeysAreRows>
__global__ void __launch_bounds__(Config<T, kWidth, kKeysAreRows>::kThreads, 1)
    backward_kernel(Problem p, int tiles, Operands<T> t) {
  using C = Config<T, kWidth, kKeysAreRows>;
  HN_DYN_SMEM(base);
  Carver carve(base);
  const Smem<C> smem(carve);
  Tile found;
  if (!find_tile<C::kRows, kKeysAreRows>(p, static_cast<int>(blockIdx.x), tiles, &found)) return;
  const int warp_row = warp_id() * C::kWarpRows, warp_first = found.first + warp_row;
  if (threadIdx.x == 0) *smem.tile = found;
  if (lane_id() == 0) {
    const int last = min(warp_first + C::kWarpRows, found.segment.rows) - 1;
    smem.spans[warp_id()] = span_of<kKeysAreRows>(p, found.segment, warp_first, last);
  }
  __syncthreads();
  const Tile& tile = *smem.tile;
  const Segment& s = tile.segment;
  const int group = p.heads / p.kv_heads;
  const int row_end = s.row + s.rows;
  load_tile<C::kRows, kWidth, C::kThreads>(smem.row_first, (kKeysAreRows ? t.k : t.q).head(tile.batch, tile.head),
                                           s.row + tile.first, row_end);
  load_tile<C::kRows, kWidth, C::kThreads>(smem.row_second, (kKeysAreRows ? t.v : t.dout).head(tile.batch, tile.head),
                                           s.row + tile.first, row_end);

  const Span& span = smem.spans[warp_id()];
  const Run cols = span_of<kKeysAreRows>(p, s, tile.first, tile.last(C::kRows)).any;
  const RowScalars row = row_scalars<kKeysAreRows>(p, t.stats, tile, warp_first);

  // Heads whose columns are walked over, and how far we are.
  int head = kKeysAreRows ? tile.head * group : tile.head / group;
  const int last_head = cols.begin < cols.end ? head + (kKeysAreRows ? group : 1) : head;
  int col = cols.begin;
  if (head < last_head) Stream<C>(p, t, tile, head).load(smem, col, cols.end);
  ptx::cp_async_commit();

  const uint32_t first_at = down<kWidth>(row_address<kWidth>(smem.row_first), warp_row),
                 second_at = down<kWidth>(row_address<kWidth>(smem.row_second), warp_row);
  float sums[1][kWidth / 8][4];                           // dq or dk
  float value_sums[1][kKeysAreRows ? kWidth / 8 : 1][4];  // dv
  clear(sums);
  clear(value_sums);
  for (int stage = 0; head < last_head; stage ^= 1) {
    int next_head = head, next_col = col + C::kCols;
    if (next_col >= cols.end) {
      next_col = cols.begin;
      ++next_head;
    }
    ptx::cp_async_wait<0>();
    __syncthreads();  // this stage is here; nobody needs the other one any more
    if (next_head < last_head) Stream<C>(p, t, tile, next_head).load(smem.at(stage ^ 1), next_col, cols.end);
    ptx::cp_async_commit();
    if (col < span.any.end && col + C::kCols > span.any.begin) {
      const Smem<C> now = smem.at(stage);
      const bool partly = col < span.whole.begin || col + C::kCols > span.whole.end;
      const auto seen = [&](int, int h) {
        const Run run = columns_seen<kKeysAreRows>(p, s, min(warp_first + h * 8 + lane_id() / 4, s.rows - 1));
        return Run{run.begin - col, run.end - col};
      };
      Scores<C> probabilities, ds;
      clear(probabilities);
      add_transposed<T, kWidth>(probabilities, first_at, column_address<kWidth>(now.col_first));
      make_probabilities<C>(probabilities, p, row, now.added);
      if (partly) hide(probabilities, 0.0f, seen);
      if constexpr (kKeysAreRows)
        add_product<T, kWidth>(value_sums, probabilities, row_address<kWidth>(now.col_second));
      __syncwarp();  // else fragments of the next product are fetched before there are registers for them
      clear(ds);
      add_transposed<T, kWidth>(ds, second_at, column_address<kWidth>(now.col_second));
      differentiate<C>(ds, probabilities, row, now.delta);
      if (partly) hide(ds, 0.0f, seen);
      add_product<T, kWidth>(sums, ds, row_address<kWidth>(now.col_first));
    }
    head = next_head;
    col = next_col;
  }
  ptx::cp_async_wait<0>();
  __syncthreads();  // without columns the rows may still be on their way to where gradients go
  const float one = s.broken ? not_a_number() : 1.0f;
  store_sums<C>(sums, t.scale * one, smem.row_first, kKeysAreRows ? t.dk : t.dq, tile, warp_row);
  if constexpr (kKeysAreRows) store_sums<C>(value_sums, one, smem.row_second, t.dv, tile, warp_row);
}

template <class T, int kWidth, bool kKeysAreRows>
Status launch_pass(const Context& ctx, const Problem& p, int64_t batch, const Operands<T>& t) {
  using C = Config<T, kWidth, kKeysAreRows>;
  const int64_t tiles = tiles_of<C::kRows>(kKeysAreRows ? p.keys : p.queries, p);
  Carver carve;
  const Smem<C> smem(carve);
  return HN_LAUNCH((backward_kernel<T, kWidth, kKeysAreRows>), batch * (kKeysAreRows ? p.kv_heads : p.heads) * tiles,
                   C::kThreads, carve.bytes(), ctx, p, static_cast<int>(tiles), t);
}

template <class T, int kWidth>
Status launch_backward(const Context& ctx, const AttentionBackwardArgs& a, const QueryStats& stats) {
  const auto wanted = [](bool want, const TensorView& t) { return want ? Heads<T>(t) : Heads<T>(); };
  const Problem p = problem_of(a);
  const Operands<T> t{
      Heads<const T>(a.q),        Heads<const T>(a.k),    Heads<const T>(a.v),    Heads<const T>(a.dout),
      wanted(a.want_q, a.dq),     wanted(a.want_k, a.dk), wanted(a.want_v, a.dv), stats,
      static_cast<float>(a.scale)};
  if (t.dq.data != nullptr) HN_RETURN_IF_ERROR((launch_pass<T, kWidth, false>(ctx, p, a.q.dim(0), t)));
  if (t.dk.data == nullptr && t.dv.data == nullptr) return {};
  return launch_pass<T, kWidth, true>(ctx, p, a.q.dim(0), t);
}

}  // namespace

int backward_shared_bytes(int64_t width) {
  Carver carve;
  if (width <= 64)
    Smem<Config<bf16, 64, true>> smem(carve);
  else
    Smem<Config<bf16, 128, true>> smem(carve);
  return carve.bytes();
}

Status backward_tensor_core(const Context& ctx, const AttentionBackwardArgs& a, const QueryStats& stats) {
  return with_types<bf16, f16>(a.q.dtype, [&](auto storage) {
    using T = decltype(storage);
    const bool narrow = a.q.dim(3) <= 64 && a.v.dim(3) <= 64;
    return narrow ? launch_backward<T, 64>(ctx, a, stats) : launch_backward<T, 128>(ctx, a, stats);
  });
}

}  // namespace hn::cuda::attn
