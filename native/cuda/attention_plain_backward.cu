// Gradients of attention by plain multiply-adds: f32, and heads wider than the tensor-core kernels take. The formulas
// are those of attention_backward.cu; nothing is rounded before the gradients.
//
// q, k, v, dout and the gradients [B, S, H, D] of any strides, f32, bf16 or f16, D and Dv of any width; lse and delta
// in f32. A block sums kWidth elements of dq for 64 queries, or of dk or dv for 64 keys, and makes the scores (and dP)
// that it needs anew: wide heads are made in chunks. Bytes: as attention_backward.cu. FLOPs: 2 · Sq · Sk a head times D
// + Dv for each chunk of dq and dk, D for each of dv, and D, D and Dv for the sums. Bound: FMA rate, of which half is
// expected.
#include "cuda/attention.h"
#include "cuda/device/attention_plain.cuh"
#include "cuda/launch.h"

namespace hn::cuda::attn {
namespace {

constexpr int kWidth = 128;

/// What a block makes.
struct Work {
  int chunk;      // of the output's elements, the first
  bool of_value;  // dv: P times dout; else dS times k or q
};

template <class T>
struct Operands {
  Heads<const T> q, k, v, dout;
  Heads<T> dq, dk, dv;  // nullptr: not asked for
  QueryStats stats;
  float scale;
};

/// lse and delta of a query; the mask of a key. Of 64 tokens from `first` of a segment on, `end` being where it ends.
struct Scalars {
  float added, delta;
};

template <bool kQueries>
HN_DEVICE Scalars scalars_of(const Problem& p, const QueryStats& stats, int batch, int head, int start, int token,
                             int end) {
  if (token >= end) return {kQueries ? -infinity() : 0.0f, 0.0f};
  if constexpr (kQueries) {
    const int64_t at = (static_cast<int64_t>(batch) * p.heads + head) * p.queries + start + token;
    return {-stats.lse_log2[at], stats.delta[at]};
  } else {
    if (p.key_mask == nullptr) return {0.0f, 0.0f};
    return {mask_log2(p.key_mask[batch * p.mask_batch_stride + (start + token) * p.mask_step]), 0.0f};
  }
}

template <class T, bool kKeysAreRows>
__global__ void __launch_bounds__(kPlainThreads, 1)
    plain_backward_kernel(Problem p, int tiles, int works, int value_works, Operands<T> t) {
  HN_DYN_SMEM(base);
  Carver carve(base);
  const PlainSmem smem(carve);
  Tile tile;
  const int block = static_cast<int>(blockIdx.x), number = block % works;
  if (!find_tile<kPlainTile, kKeysAreRows>(p, block / works, tiles, &tile)) return;
  const Work work{(number < value_works ? number : number - value_works) * kWidth, number < value_works};
  const Segment& s = tile.segment;
  const int group = p.heads / p.kv_heads, row = s.row + tile.first, row_end = s.row + s.rows;
  const Tokens<const T> row_first = (kKeysAreRows ? t.k : t.q).head(tile.batch, tile.head),
                        row_second = (kKeysAreRows ? t.v : t.dout).head(tile.batch, tile.head);
  const Run cols = span_of<kKeysAreRows>(p, s, tile.first, tile.last(kPlainTile)).any;
  Run runs[kPlainEach];
  plain_runs<kKeysAreRows>(p, tile, runs);
  Scalars of_row[kPlainEach];
#pragma unroll
  for (int i = 0; i < kPlainEach; ++i) {
    of_row[i] =
        scalars_of<!kKeysAreRows>(p, t.stats, tile.batch, tile.head, s.row, tile.first + plain_row() + i, s.rows);
  }

  PlainSums<kWidth> sums = {};
  const int first_head = kKeysAreRows ? tile.head * group : tile.head / group;
  for (int head = first_head; head < first_head + (kKeysAreRows ? group : 1); ++head) {
    const Tokens<const T> col_first = (kKeysAreRows ? t.q : t.k).head(tile.batch, head).from(s.col),
                          col_second = (kKeysAreRows ? t.dout : t.v).head(tile.batch, head).from(s.col);
    for (int col = cols.begin; col < cols.end; col += kPlainTile) {
      float scores[kPlainEach][kPlainEach], dp[kPlainEach][kPlainEach];
      // The barriers of the products stand between this and its readers, and between those and the next of it.
      if (threadIdx.x < kPlainTile) {
        const Scalars of_col = scalars_of<kKeysAreRows>(p, t.stats, tile.batch, head, s.col,
                                                        col + static_cast<int>(threadIdx.x), cols.end);
        smem.added[threadIdx.x] = of_col.added;
        smem.delta[threadIdx.x] = of_col.delta;
      }
      make_scores(scores, row_first, row, row_end, col_first, col, cols.end, smem.slab);
      if (!work.of_value) {
        make_scores(dp, row_second, row, row_end, col_second, col, cols.end, smem.slab);
      } else {
#pragma unroll
        for (int i = 0; i < kPlainEach; ++i) dp[i][0] = dp[i][1] = dp[i][2] = dp[i][3] = 0;
      }
#pragma unroll
      for (int j = 0; j < kPlainEach; ++j) {
        const float added = smem.added[plain_col() + j], delta = smem.delta[plain_col() + j];
#pragma unroll
        for (int i = 0; i < kPlainEach; ++i) {
          const float probability = ptx::exp2_approx(scores[i][j] * p.scale_log2 + (of_row[i].added + added));
          const float ds = probability * (dp[i][j] - (of_row[i].delta + delta));
          const float weight = work.of_value ? probability : ds;
          scores[i][j] = sees(runs[i], col + plain_col() + j) ? weight : 0.0f;
        }
      }
      put_weights(smem.weights, scores);
      Tokens<const T> multiplied = col_first;
      if (work.of_value) multiplied = col_second;
      add_weighted<kWidth>(sums, smem.weights, multiplied, col, cols.end, work.chunk, smem.slab);
    }
  }

  const float one = s.broken ? not_a_number() : 1.0f, factor = work.of_value ? one : t.scale * one;
  const float factors[kPlainEach] = {factor, factor, factor, factor};
  const Heads<T>& out = work.of_value ? t.dv : kKeysAreRows ? t.dk : t.dq;
  store_plain<kWidth>(sums, factors, out.head(tile.batch, tile.head), row, row_end, work.chunk);
}

template <class T, bool kKeysAreRows>
Status launch_pass(const Context& ctx, const Problem& p, const AttentionBackwardArgs& a, const Operands<T>& t) {
  const bool wants_score = (kKeysAreRows ? t.dk : t.dq).data != nullptr,
             wants_value = kKeysAreRows && t.dv.data != nullptr;
  const int64_t value_works = wants_value ? ceil_div(a.v.dim(3), kWidth) : 0;
  const int64_t works = value_works + (wants_score ? ceil_div(a.q.dim(3), kWidth) : 0);
  const int64_t tiles = tiles_of<kPlainTile>(kKeysAreRows ? p.keys : p.queries, p);
  Carver carve;
  const PlainSmem smem(carve);
  return HN_LAUNCH((plain_backward_kernel<T, kKeysAreRows>),
                   a.q.dim(0) * (kKeysAreRows ? p.kv_heads : p.heads) * tiles * works, kPlainThreads, carve.bytes(),
                   ctx, p, static_cast<int>(tiles), static_cast<int>(works), static_cast<int>(value_works), t);
}

}  // namespace

Status backward_plain(const Context& ctx, const AttentionBackwardArgs& a, const QueryStats& stats) {
  return with_storage(a.q.dtype, [&](auto storage) {
    using T = decltype(storage);
    const auto wanted = [](bool want, const TensorView& t) { return want ? Heads<T>(t) : Heads<T>(); };
    const Problem p = problem_of(a);
    const Operands<T> t{
        Heads<const T>(a.q),        Heads<const T>(a.k),    Heads<const T>(a.v),    Heads<const T>(a.dout),
        wanted(a.want_q, a.dq),     wanted(a.want_k, a.dk), wanted(a.want_v, a.dv), stats,
        static_cast<float>(a.scale)};
    HN_RETURN_IF_ERROR((launch_pass<T, false>(ctx, p, a, t)));
    return launch_pass<T, true>(ctx, p, a, t);
  });
}

}  // namespace hn::cuda::attn
