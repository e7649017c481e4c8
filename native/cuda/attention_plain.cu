// Attention forward by plain multiply-adds: f32, and heads wider than the tensor-core kernel takes. The formulas are
// those of attention_forward.cu; nothing is rounded before o.
//
// q, k, v, o [B, S, H, D] of any strides, f32, bf16 or f16, D and Dv of any width; lse [B, H, Sq] in f32, dense. A
// block takes 64 queries through the keys that they see and sums kWidth elements of o, 128 or 512; wider heads are made
// in chunks, each of which makes the scores again. Bytes: q and o once, k and v once a tile, from L2. FLOPs: 2 · Sq ·
// Sk · (D · chunks + Dv) a head. Bound: FMA rate, of which half is expected.
#include "cuda/attention.h"
#include "cuda/device/attention_plain.cuh"
#include "cuda/device/reduce.cuh"
#include "cuda/launch.h"

namespace hn::cuda::attn {
namespace {

/// Scores become 2^(s − max); maxima and sums are brought up to date and `factor` is what to multiply earlier sums
/// with.
HN_DEVICE void softmax(float (&s)[kPlainEach][kPlainEach], float (&max)[kPlainEach], float (&sum)[kPlainEach],
                       float (&factor)[kPlainEach]) {
#pragma unroll
  for (int i = 0; i < kPlainEach; ++i) {
    float top = fmaxf(fmaxf(s[i][0], s[i][1]), fmaxf(s[i][2], s[i][3]));
    top = fmaxf(max[i], warp_reduce<kPlainSide>(top, [](float a, float b) { return fmaxf(a, b); }));
    // A row that has seen no key yet gets 2^(−inf − 0) = 0 instead of NaN.
    const float base = top == -infinity() ? 0 : top;
    factor[i] = ptx::exp2_approx(max[i] - base);
    float part = 0;
#pragma unroll
    for (int j = 0; j < kPlainEach; ++j) {
      s[i][j] = ptx::exp2_approx(s[i][j] - base);
      part += s[i][j];
    }
    sum[i] = sum[i] * factor[i] + warp_sum<kPlainSide>(part);
    max[i] = top;
  }
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kPlainThreads, 1)
    plain_forward_kernel(Problem p, int tiles, int chunks, Heads<const T> q, Heads<const T> k, Heads<const T> v,
                         Heads<T> o, float* lse) {
  HN_DYN_SMEM(base);
  Carver carve(base);
  const PlainSmem smem(carve);
  Tile tile;
  const int block = static_cast<int>(blockIdx.x), chunk = block % chunks * kWidth;
  if (!find_tile<kPlainTile, false>(p, block / chunks, tiles, &tile)) return;
  const Segment& s = tile.segment;
  const int kv_head = tile.head / (p.heads / p.kv_heads);
  const Tokens<const T> queries = q.head(tile.batch, tile.head), keys = k.head(tile.batch, kv_head).from(s.col),
                        values = v.head(tile.batch, kv_head).from(s.col);
  const int end = columns_seen<false>(p, s, tile.last(kPlainTile)).end;
  Run runs[kPlainEach];
  plain_runs<false>(p, tile, runs);

  float max[kPlainEach], sum[kPlainEach] = {};
  PlainSums<kWidth> sums = {};
#pragma unroll
  for (int i = 0; i < kPlainEach; ++i) max[i] = -infinity();
  for (int key = 0; key < end; key += kPlainTile) {
    float scores[kPlainEach][kPlainEach], factor[kPlainEach];
    make_scores(scores, queries, s.row + tile.first, s.row + s.rows, keys, key, end, smem.slab);
#pragma unroll
    for (int j = 0; j < kPlainEach; ++j) {
      const int col = key + plain_col() + j;
      float add = 0;
      if (p.key_mask != nullptr && col < end)
        add = mask_log2(p.key_mask[tile.batch * p.mask_batch_stride + (s.col + col) * p.mask_step]);
#pragma unroll
      for (int i = 0; i < kPlainEach; ++i)
        scores[i][j] = sees(runs[i], col) ? scores[i][j] * p.scale_log2 + add : -infinity();
    }
    softmax(scores, max, sum, factor);
#pragma unroll
    for (int i = 0; i < kPlainEach; ++i) {
#pragma unroll
      for (int n = 0; n < kWidth / kPlainSide; ++n) sums[i][n] *= factor[i];
    }
    put_weights(smem.weights, scores);
    add_weighted<kWidth>(sums, smem.weights, values, key, end, chunk, smem.slab);
  }

  const float nothing = s.broken ? not_a_number() : 0.0f;
  float factor[kPlainEach];
#pragma unroll
  for (int i = 0; i < kPlainEach; ++i) {
    const bool hidden = max[i] == -infinity();
    factor[i] = hidden ? nothing : 1.0f / sum[i];
    const int row = tile.first + plain_row() + i;
    if (lse == nullptr || chunk > 0 || plain_col() > 0 || row >= s.rows) continue;
    lse[(static_cast<int64_t>(tile.batch) * p.heads + tile.head) * p.queries + s.row + row] =
        hidden ? max[i] + nothing : kLn2 * max[i] + logf(sum[i]);
  }
  store_plain<kWidth>(sums, factor, o.head(tile.batch, tile.head), s.row + tile.first, s.row + s.rows, chunk);
}

template <class T, int kWidth>
Status launch_plain(const Context& ctx, const AttentionArgs& a) {
  const Problem p = problem_of(a);
  const int64_t tiles = tiles_of<kPlainTile>(p.queries, p), chunks = std::max<int64_t>(1, ceil_div(a.v.dim(3), kWidth));
  Carver carve;
  const PlainSmem smem(carve);
  return HN_LAUNCH((plain_forward_kernel<T, kWidth>), a.q.dim(0) * p.heads * tiles * chunks, kPlainThreads,
                   carve.bytes(), ctx, p, static_cast<int>(tiles), static_cast<int>(chunks), Heads<const T>(a.q),
                   Heads<const T>(a.k), Heads<const T>(a.v), Heads<T>(a.o), a.lse ? a.lse.as<float>() : nullptr);
}

}  // namespace

Status forward_plain(const Context& ctx, const AttentionArgs& a) {
  return with_storage(a.q.dtype, [&](auto storage) {
    using T = decltype(storage);
    return a.v.dim(3) <= 128 ? launch_plain<T, 128>(ctx, a) : launch_plain<T, 512>(ctx, a);
  });
}

}  // namespace hn::cuda::attn
