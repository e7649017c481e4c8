// Attention forward on tensor cores for wide heads, up to 512: the one head of HunyuanVideo's autoencoder. Formulas,
// operands and rounding are those of attention_forward.cu.
//
// FLOPs: 2 · Sq · Sk · (D + Dv) a head, both on whole tiles of 512. Bytes: q and o once; k and v once a tile of 64
// queries, from L2. Bound: reads of fragments from shared memory, some 60 % of what mma.sync can do. [1, 16384, 1, 512]
// by frames is 0.3 TFLOP.
//
// A warp's registers hold 16 queries of 256 elements of O. Two warps share 16 queries: each multiplies its half of the
// head's width for the scores, the halves are added by way of shared memory, both make the same softmax, and each sums
// its half of O. A head lies in panels of 128 elements, which are tiles like those of narrow heads. 8 warps, 64
// queries, 32 keys at a time; K of the next keys is on its way during softmax and second product, V during the first
// product.
#include "cuda/attention.h"
#include "cuda/device/attention_softmax.cuh"
#include "cuda/device/shared.cuh"
#include "cuda/launch.h"

namespace hn::cuda::attn {
namespace {

constexpr int kPanel = 128, kPanels = 4, kHalves = 2, kHalfPanels = kPanels / kHalves;
constexpr int kKeys = 32, kColumns = kKeys / 8;
constexpr int kWarpRows = 16, kRows = 64, kThreads = kRows / kWarpRows * kHalves * kWarp;
static_assert(kPanel * kPanels == kWideWidth && kHalfPanels == 2);

template <class T>
struct Smem {
  T *q, *k, *v;   // [panel][row][kPanel]
  float* halves;  // of the scores: [warp][column][lane], packs of 4
  float* mask;
  int* limits;  // for each row of the tile, how many keys it sees
  Tile* tile;   // not held: registers are short

  HN_HOST_DEVICE explicit Smem(Carver& carve)
      : q(carve.take<T>(kPanels * kRows * kPanel, 1024)),
        k(carve.take<T>(kPanels * kKeys * kPanel, 1024)),
        v(carve.take<T>(kPanels * kKeys * kPanel, 1024)),
        halves(carve.take<float>(kThreads * kColumns * 4)),
        mask(carve.take<float>(kKeys)),
        limits(carve.take<int>(kRows)),
        tile(carve.take<Tile>(1)) {}
};

template <int kTokens, class T>
HN_DEVICE void load_panels(T* to, const Tokens<const T>& from, int first, int end) {
#pragma unroll 1
  for (int panel = 0; panel < kPanels; ++panel) {
    load_tile<kTokens, kPanel, kThreads>(to + panel * kTokens * kPanel, from.elements_from(panel * kPanel), first, end);
  }
}

using Scores = float[1][kColumns][4];

/// Where a warp's half of the scores lies.
HN_DEVICE float* half_of(float* halves, int warp) { return halves + (warp * kColumns * kWarp + lane_id()) * 4; }

HN_DEVICE void put_half(float* half, const Scores& s) {
#pragma unroll
  for (int n = 0; n < kColumns; ++n) store_pack<4>(half + n * kWarp * 4, s[0][n]);
}
HN_DEVICE void add_half(const float* half, Scores& s) {
#pragma unroll
  for (int n = 0; n < kColumns; ++n) {
    float other[4];
    load_pack<4>(half + n * kWarp * 4, other);
#pragma unroll
    for (int i = 0; i < 4; ++i) s[0][n][i] += other[i];
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads, 1)
    wide_kernel(Problem p, int tiles, Heads<const T> q, Heads<const T> k, Heads<const T> v, Heads<T> o, float* lse) {
  HN_DYN_SMEM(base);
  Carver carve(base);
  const Smem<T> smem(carve);
  Tile found;
  if (!find_tile<kRows, false>(p, static_cast<int>(blockIdx.x), tiles, &found)) return;
  if (threadIdx.x == 0) *smem.tile = found;
  __syncthreads();
  const Tile& tile = *smem.tile;
  const Segment& s = tile.segment;
  const int kv_head = tile.head / (p.heads / p.kv_heads);
  const Tokens<const T> keys = k.head(tile.batch, kv_head).from(s.col),
                        values = v.head(tile.batch, kv_head).from(s.col);
  const float* const mask =
      p.key_mask != nullptr ? p.key_mask + tile.batch * p.mask_batch_stride + s.col * p.mask_step : nullptr;
  // As in attention_forward.cu.
  const bool plain = mask == nullptr && p.scale_log2 > 0;
  const float factor = plain ? p.scale_log2 : 1.0f;

  const int half = warp_id() % kHalves, warp_row = warp_id() / kHalves * kWarpRows, warp_first = tile.first + warp_row;
  const Span span = span_of<false>(p, s, warp_first, min(warp_first + kWarpRows, s.rows) - 1);
  const int end = columns_seen<false>(p, s, tile.last(kRows)).end;
  if (static_cast<int>(threadIdx.x) < kRows) {
    const int row = tile.first + static_cast<int>(threadIdx.x);
    smem.limits[threadIdx.x] = columns_seen<false>(p, s, min(row, s.rows - 1)).end;
  }
  load_panels<kRows>(smem.q, q.head(tile.batch, tile.head), s.row + tile.first, s.row + s.rows);
  if (end > 0) load_panels<kKeys>(smem.k, keys, 0, end);
  ptx::cp_async_commit();

  // Of this warp's half of the panels.
  T *const q_half = smem.q + half * kHalfPanels * kRows * kPanel,
           *const k_half = smem.k + half * kHalfPanels * kKeys * kPanel,
           *const v_half = smem.v + half * kHalfPanels * kKeys * kPanel;
  const uint32_t q_at = down<kPanel>(row_address<kPanel>(q_half), warp_row), k_at = column_address<kPanel>(k_half),
                 v_at = row_address<kPanel>(v_half);
  float* const mine = half_of(smem.halves, warp_id());
  const float* const others = half_of(smem.halves, warp_id() ^ 1);
  RowState<1> rows;
  float out[1][kHalfPanels * kPanel / 8][4];
  clear(out);
  for (int key = 0; key < end; key += kKeys) {
    ptx::cp_async_wait<0>();
    __syncthreads();  // K is here; nobody needs the last V, mask and halves any more
    load_panels<kKeys>(smem.v, values, key, end);
    if (mask != nullptr && static_cast<int>(threadIdx.x) < kKeys) {
      const int at = min(key + static_cast<int>(threadIdx.x), end - 1);
      ptx::cp_async<4>(ptx::smem_u32(smem.mask + threadIdx.x), mask + at * p.mask_step);
    }
    ptx::cp_async_commit();
    const bool busy = key < span.any.end;  // else none of the warp's queries sees these keys
    Scores scores;
    if (busy) {
      clear(scores);
#pragma unroll
      for (int panel = 0; panel < kHalfPanels; ++panel)
        add_transposed<T, kPanel>(scores, down<kPanel>(q_at, panel * kRows), down<kPanel>(k_at, panel * kKeys));
      put_half(mine, scores);
    }
    ptx::cp_async_wait<0>();
    __syncthreads();  // V and the halves are here; nobody needs this K any more
    if (key + kKeys < end) {
      load_panels<kKeys>(smem.k, keys, key + kKeys, end);
      ptx::cp_async_commit();
    }
    if (!busy) continue;
    add_half(others, scores);
    if (!plain) scale_and_mask(scores, p.scale_log2, mask != nullptr ? smem.mask : nullptr);
    if (key + kKeys > span.whole.end) {
      const int* const limits = smem.limits + warp_row + lane_id() / 4;
      hide(scores, -infinity(), [&](int, int h) { return Run{0, limits[h * 8] - key}; });
    }
    softmax(scores, factor, rows, out);
    add_product<T, kPanel>(out, scores, v_at);
    add_product<T, kPanel, kPanel / 8>(out, scores, down<kPanel>(v_at, kKeys));
  }
  ptx::cp_async_wait<0>();
  __syncthreads();  // without keys Q may still be on its way to where o goes

  float factors[1][2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float row_lse;
    factors[0][h] = rows.finish(0, h, s.broken, &row_lse);
    const int row = warp_first + h * 8 + lane_id() / 4;
    if (lse != nullptr && half == 0 && lane_id() % 4 == 0 && row < s.rows)
      lse[(static_cast<int64_t>(tile.batch) * p.heads + tile.head) * p.queries + s.row + row] = row_lse;
  }
  const Tokens<T> result = o.head(tile.batch, tile.head).elements_from(half * kHalfPanels * kPanel);
  T* const second = q_half + kRows * kPanel;
  put_sums<kPanel>(q_half, warp_row, out, factors);
  put_sums<kPanel, kPanel / 8>(second, warp_row, out, factors);
  __syncwarp();
  store_rows<kWarpRows, kPanel>(q_half, warp_row, result, s.row + warp_first, s.row + s.rows);
  store_rows<kWarpRows, kPanel>(second, warp_row, result.elements_from(kPanel), s.row + warp_first, s.row + s.rows);
}

template <class T>
Status launch_wide(const Context& ctx, const AttentionArgs& a) {
  const Problem p = problem_of(a);
  const int64_t tiles = tiles_of<kRows>(p.queries, p);
  Carver carve;
  const Smem<T> smem(carve);
  return HN_LAUNCH((wide_kernel<T>), a.q.dim(0) * p.heads * tiles, kThreads, carve.bytes(), ctx, p,
                   static_cast<int>(tiles), Heads<const T>(a.q), Heads<const T>(a.k), Heads<const T>(a.v),
                   Heads<T>(a.o), a.lse ? a.lse.as<float>() : nullptr);
}

}  // namespace

int wide_shared_bytes() {
  Carver carve;
  const Smem<bf16> smem(carve);
  return carve.bytes();
}

Status forward_wide(const Context& ctx, const AttentionArgs& a) {
  return with_types<bf16, f16>(a.q.dtype, [&](auto storage) { return launch_wide<decltype(storage)>(ctx, a); });
}

}  // namespace hn::cuda::attn
