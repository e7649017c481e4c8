// Attention forward on tensor cores, in blocks with an online softmax: for a tile of queries, over tiles of keys,
//   S = scale · log2 e · Q Kᵀ + mask;   m' = max(m, rowmax S);   P = 2^(S − m');   a = 2^(m − m')
//   l = a · l + rowsum P;   O = a · O + P V          and at the end   O = O / l,   lse = ln 2 · (m + log2 l)
//
// q [B, Sq, H, D], k [B, Sk, Hkv, D], v [B, Sk, Hkv, Dv], o [B, Sq, H, Dv] of any strides, bf16 or f16, D and Dv up to
// 128; lse [B, H, Sq] in f32, dense. Scores, sums and statistics are f32; P is rounded to the storage type for the
// second product, and o once at the end. Tokens that are whole packs of 16 bytes are copied with cp.async, others by
// element. Bytes: q and o once; k and v once a tile of 128 queries, from L2. FLOPs: 2 · Sq · Sk · (D + Dv) a head.
// Bound: tensor cores, and the exponential beside them (one a score: at D = 128 some half of the time on its own unit).
// [1, 16384, 24, 128] is 3.3 TFLOP; mma.sync reaches about 60 % of what wgmma does on sm_90.
//
// 4 warps of 32 queries each: every fragment of K and V that is read from shared memory serves two products, without
// which shared memory, not the tensor core, would be the limit. Q is read again for each tile (registers hold O and S).
// K of the next tile is on its way while this one's softmax and second product run, V during the first product; two
// blocks an SM fill each other's gaps. After Dao, FlashAttention-2 (arXiv 2307.08691).
#include "cuda/attention.h"
#include "cuda/device/attention_softmax.cuh"
#include "cuda/device/shared.cuh"
#include "cuda/launch.h"

namespace hn::cuda::attn {
namespace {

/// kWidth: of a head, on whole tiles. Narrow heads leave registers for the scores of more keys: fewer barriers.
template <class T_, int kWidth_>
struct Config {
  using T = T_;
  static constexpr int kWidth = kWidth_;
  static constexpr int kKeys = kWidth == 64 ? 96 : 64;
  static constexpr int kWarpRows = 32, kWarps = 4;
  static constexpr int kRows = kWarpRows * kWarps, kThreads = kWarps * kWarp;
  static constexpr int kFragments = kWarpRows / 16, kColumns = kKeys / 8;
};

template <class C>
struct Smem {
  typename C::T *q, *k, *v;
  float* mask;
  // Seldom needed, and registers are short:
  int* limits;  // for each row of the tile, how many keys it sees
  Tile* tile;
  const float** mask_row;

  HN_HOST_DEVICE explicit Smem(Carver& carve)
      : q(carve.take<typename C::T>(C::kRows * C::kWidth, 1024)),
        k(carve.take<typename C::T>(C::kKeys * C::kWidth, 1024)),
        v(carve.take<typename C::T>(C::kKeys * C::kWidth, 1024)),
        mask(carve.take<float>(C::kKeys)),
        limits(carve.take<int>(C::kRows)),
        tile(carve.take<Tile>(1)),
        mask_row(carve.take<const float*>(1)) {}
};

template <class C>
using Output = float[C::kFragments][C::kWidth / 8][4];

/// Divides by the sums and stores o and lse. The warp's part of Q's tile takes o, for stores of whole packs.
template <class C>
HN_DEVICE void finish(const RowState<C::kFragments>& rows, const Output<C>& out, const Tile& tile, int warp_row,
                      typename C::T* q_tile, const Tokens<typename C::T>& o, float* lse) {
  const Segment& s = tile.segment;
  float factor[C::kFragments][2];
#pragma unroll
  for (int m = 0; m < C::kFragments; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float row_lse;
      factor[m][h] = rows.finish(m, h, s.broken, &row_lse);
      const int row = tile.first + warp_row + m * 16 + h * 8 + lane_id() / 4;
      if (lse != nullptr && lane_id() % 4 == 0 && row < s.rows) lse[s.row + row] = row_lse;
    }
  }
  put_sums<C::kWidth>(q_tile, warp_row, out, factor);
  __syncwarp();
  store_rows<C::kWarpRows, C::kWidth>(q_tile, warp_row, o, s.row + tile.first + warp_row, s.row + s.rows);
}

template <class T, int kWidth>
__global__ void __launch_bounds__(Config<T, kWidth>::kThreads, 2)
    forward_kernel(Problem p, int tiles, Heads<const T> q, Heads<const T> k, Heads<const T> v, Heads<T> o, float* lse) {
  using C = Config<T, kWidth>;
  HN_DYN_SMEM(base);
  Carver carve(base);
  const Smem<C> smem(carve);
  // −inf · factor must stay −inf, and the largest score the largest: else scores are multiplied first.
  const bool plain = p.key_mask == nullptr && p.scale_log2 > 0;
  const float factor = plain ? p.scale_log2 : 1.0f;
  const int warp_row = warp_id() * C::kWarpRows;

  Tokens<const T> keys, values;
  int end, warp_end, warp_whole;  // keys that some row of the tile sees, some row of the warp, all rows of the warp
  {
    Tile tile;
    if (!find_tile<C::kRows, false>(p, static_cast<int>(blockIdx.x), tiles, &tile)) return;
    const Segment& s = tile.segment;
    const int kv_head = tile.head / (p.heads / p.kv_heads);
    keys = k.head(tile.batch, kv_head).from(s.col);
    values = v.head(tile.batch, kv_head).from(s.col);
    load_tile<C::kRows, kWidth, C::kThreads>(smem.q, q.head(tile.batch, tile.head), s.row + tile.first, s.row + s.rows);

    const int warp_first = tile.first + warp_row;
    const Span span = span_of<false>(p, s, warp_first, min(warp_first + C::kWarpRows, s.rows) - 1);
    warp_end = span.any.end;
    warp_whole = span.whole.end;
    end = columns_seen<false>(p, s, tile.last(C::kRows)).end;
    static_assert(C::kRows == C::kThreads);
    const int row = tile.first + static_cast<int>(threadIdx.x);
    smem.limits[threadIdx.x] = columns_seen<false>(p, s, min(row, s.rows - 1)).end;
    if (threadIdx.x == 0) {
      *smem.tile = tile;
      *smem.mask_row = p.key_mask + tile.batch * p.mask_batch_stride + s.col * p.mask_step;
    }
  }
  if (end > 0) load_tile<C::kKeys, kWidth, C::kThreads>(smem.k, keys, 0, end);
  ptx::cp_async_commit();
  const uint32_t q_at = down<kWidth>(row_address<kWidth>(smem.q), warp_row), k_at = column_address<kWidth>(smem.k),
                 v_at = row_address<kWidth>(smem.v);

  RowState<C::kFragments> rows;
  Output<C> out;
  clear(out);
  for (int key = 0; key < end; key += C::kKeys) {
    ptx::cp_async_wait<0>();
    __syncthreads();  // K is here; nobody needs the last V and mask any more
    load_tile<C::kKeys, kWidth, C::kThreads>(smem.v, values, key, end);
    if (p.key_mask != nullptr && static_cast<int>(threadIdx.x) < C::kKeys) {
      const int at = min(key + static_cast<int>(threadIdx.x), end - 1);
      ptx::cp_async<4>(ptx::smem_u32(smem.mask + threadIdx.x), *smem.mask_row + at * p.mask_step);
    }
    ptx::cp_async_commit();
    const bool busy = key < warp_end;  // else none of the warp's queries sees these keys
    float scores[C::kFragments][C::kColumns][4];
    if (busy) {
      clear(scores);
      add_transposed<T, kWidth>(scores, q_at, k_at);
    }

    ptx::cp_async_wait<0>();
    __syncthreads();  // V is here; nobody needs this K any more
    if (key + C::kKeys < end) {
      load_tile<C::kKeys, kWidth, C::kThreads>(smem.k, keys, key + C::kKeys, end);
      ptx::cp_async_commit();
    }
    if (!busy) continue;
    if (!plain) scale_and_mask(scores, p.scale_log2, p.key_mask != nullptr ? smem.mask : nullptr);
    if (key + C::kKeys > warp_whole) {
      const int* const limits = smem.limits + warp_row + lane_id() / 4;
      hide(scores, -infinity(), [&](int m, int h) { return Run{0, limits[m * 16 + h * 8] - key}; });
    }
    softmax(scores, factor, rows, out);
    add_product<T, kWidth>(out, scores, v_at);
  }
  ptx::cp_async_wait<0>();
  __syncthreads();  // without keys Q may still be on its way to where o goes
  const Tile tile = *smem.tile;
  finish<C>(rows, out, tile, warp_row, smem.q, o.head(tile.batch, tile.head),
            lse != nullptr ? lse + (static_cast<int64_t>(tile.batch) * p.heads + tile.head) * p.queries : nullptr);
}

template <class T, int kWidth>
Status launch_forward(const Context& ctx, const AttentionArgs& a) {
  using C = Config<T, kWidth>;
  const Problem p = problem_of(a);
  const int64_t tiles = tiles_of<C::kRows>(p.queries, p);
  Carver carve;
  const Smem<C> smem(carve);
  return HN_LAUNCH((forward_kernel<T, kWidth>), a.q.dim(0) * p.heads * tiles, C::kThreads, carve.bytes(), ctx, p,
                   static_cast<int>(tiles), Heads<const T>(a.q), Heads<const T>(a.k), Heads<const T>(a.v),
                   Heads<T>(a.o), a.lse ? a.lse.as<float>() : nullptr);
}

}  // namespace

Status forward_tensor_core(const Context& ctx, const AttentionArgs& a) {
  return with_types<bf16, f16>(a.q.dtype, [&](auto storage) {
    using T = decltype(storage);
    const bool narrow = a.q.dim(3) <= 64 && a.v.dim(3) <= 64;
    return narrow ? launch_forward<T, 64>(ctx, a) : launch_forward<T, 128>(ctx, a);
  });
}

}  // namespace hn::cuda::attn
