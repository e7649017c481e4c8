// Rotary position embedding: tables of angles, and the rotation of queries or keys (rotation.cuh).
//   pairs (a, b) of a head: (2j, 2j + 1) interleaved, or (j, j + D/2) in halves
//   angle of pair j at a position of an axis with d columns: position · (1 / theta^(2j/d)), rounded to f32 on the way
//   as in the reference implementation; cos and sin of it are found in double and rounded once
//
// x, y [B, S, H, D] of any strides, f32, bf16 or f16; cos, sin [P, D] of any float type and any strides: the first P
// tokens are turned, the others copied. Tables are made in f32, [tokens, D].
// Bytes: 2 · size(x); the tables are read once for eight heads. FLOPs: 3 an element. Bound by memory.
//
// Rotation: a thread takes some pairs of a token and up to eight of its heads, for which it keeps the angles.
// Tables: an axis has few positions, so its cos and sin are found once for each, then copied to the tokens that share
// it.
#include "core/generated/rope.h"
#include "cuda/device/rotation.cuh"
#include "cuda/launch.h"
#include "cuda/support.h"

namespace hn::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kHeadsPerThread = 8;

/// kPairs neighbouring pairs of a head, from pair j on: one pack where they are interleaved, else a pack of each half.
template <int kPairs, bool kInterleaved>
struct Pairs {
  static constexpr bool kWide = kPairs > 1;
  float a[kPairs], b[kPairs];

  /// load(element, v) reads neighbours from an element on; store(element, v) writes them.
  template <class Load>
  HN_DEVICE void read(int64_t j, int64_t half, Load&& load) {
    if constexpr (kInterleaved) {
      float v[2 * kPairs];
      load(2 * j, v);
#pragma unroll
      for (int k = 0; k < kPairs; ++k) {
        a[k] = v[2 * k];
        b[k] = v[2 * k + 1];
      }
    } else {
      load(j, a);
      load(j + half, b);
    }
  }
  template <class Store>
  HN_DEVICE void write(int64_t j, int64_t half, Store&& store) const {
    if constexpr (kInterleaved) {
      float v[2 * kPairs];
#pragma unroll
      for (int k = 0; k < kPairs; ++k) {
        v[2 * k] = a[k];
        v[2 * k + 1] = b[k];
      }
      store(2 * j, v);
    } else {
      store(j, a);
      store(j + half, b);
    }
  }
};

/// Threads are dealt out by token, then by parts of its heads, then by kPairs pairs.
struct Deal {
  Divider pair_packs, head_parts, sequence;
  int64_t threads, heads, half;
};

template <class T, int kPairs, bool kInterleaved>
__global__ void __launch_bounds__(kThreads)
    rope_kernel(Heads<T> x, AngleTables tables, Heads<T> y, Deal deal, bool transposed) {
  using Part = Pairs<kPairs, kInterleaved>;
  int64_t token = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (token >= deal.threads) return;
  const int64_t j = deal.pair_packs.split(token) * kPairs, first = deal.head_parts.split(token) * kHeadsPerThread;
  int64_t sequence = token;
  const int64_t position = deal.sequence.split(sequence);
  const bool turned = position < tables.positions;
  Part cos, sin;
  if (turned) {
    const AnyRow cos_row = tables.cos.row(position), sin_row = tables.sin.row(position);
    cos.read(j, deal.half, [&](int64_t i, auto& v) { load_factors<Part::kWide>(cos_row, i, v); });
    sin.read(j, deal.half, [&](int64_t i, auto& v) { load_factors<Part::kWide>(sin_row, i, v); });
  }

  const T* const from = x.token(token);
  T* const to = y.token(token);
  constexpr int kBatch = 4;  // heads that are loaded before any is used
  for (int64_t h = first; h < min(first + kHeadsPerThread, deal.heads); h += kBatch) {
    Part v[kBatch];
#pragma unroll
    for (int u = 0; u < kBatch; ++u) {
      if (h + u >= deal.heads) continue;
      const T* const head = from + x.head(h + u);
      v[u].read(j, deal.half, [&](int64_t i, auto& e) { x.template load<Part::kWide>(head, i, e); });
    }
#pragma unroll
    for (int u = 0; u < kBatch; ++u) {
      if (h + u >= deal.heads) continue;
#pragma unroll
      for (int k = 0; k < kPairs; ++k) {
        if (turned) Turn{cos.a[k], sin.a[k], cos.b[k], sin.b[k]}(v[u].a[k], v[u].b[k], transposed);
      }
      T* const head = to + y.head(h + u);
      v[u].write(j, deal.half, [&](int64_t i, const auto& e) { y.template store<Part::kWide>(head, i, e); });
    }
  }
}

// --- tables --------------------------------------------------------------------------------------------------------

/// One axis of the grid: `size` positions from `start` on, d columns.
struct Axis {
  int64_t size, d, start;
  double theta;
  bool interleaved;
};

/// cos and sin of each position and pair of an axis, [size, d / 2] each. (The stack frame is that of the library's cos,
/// for angles beyond a million.)
__global__ void __launch_bounds__(kThreads) axis_kernel(Axis axis, Divider pairs, float* cosines, float* sines) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= axis.size * (axis.d / 2)) return;
  int64_t position = i;
  const int64_t j = pairs.split(position);
  const float exponent = static_cast<float>(2 * j) / static_cast<float>(axis.d);
  const float frequency = 1.0f / static_cast<float>(pow(axis.theta, static_cast<double>(exponent)));
  const double angle = static_cast<float>(axis.start + position) * frequency;
  cosines[i] = static_cast<float>(cos(angle));
  sines[i] = static_cast<float>(sin(angle));
}

/// Copies them to columns [column, column + d) of every token; tokens that follow each other `inner` times share one.
__global__ void __launch_bounds__(kThreads)
    spread_kernel(const float* cosines, const float* sines, Axis axis, int64_t tokens, Divider columns, Divider inner,
                  Divider sizes, float* cos_table, float* sin_table, int64_t column, int64_t width) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= tokens * axis.d) return;
  int64_t token = i;
  const int64_t c = columns.split(token), pairs = axis.d / 2;
  int64_t round = inner.quotient(token);
  const int64_t position = sizes.split(round);
  const int64_t from = position * pairs + (axis.interleaved ? c / 2 : c < pairs ? c : c - pairs);
  cos_table[token * width + column + c] = cosines[from];
  sin_table[token * width + column + c] = sines[from];
}

// --- launchers -----------------------------------------------------------------------------------------------------

template <class T, int kPairs, bool kInterleaved>
Status launch_rope(const Context& ctx, const RopeArgs& a) {
  const int64_t tokens = a.x.dim(0) * a.x.dim(1), heads = a.x.dim(2), half = a.x.dim(3) / 2;
  const int64_t pair_packs = half / kPairs, head_parts = ceil_div(heads, kHeadsPerThread);
  const Deal deal{
      Divider(pair_packs), Divider(head_parts), Divider(a.x.dim(1)), tokens * head_parts * pair_packs, heads, half};
  return HN_LAUNCH((rope_kernel<T, kPairs, kInterleaved>), ceil_div(deal.threads, kThreads), kThreads, 0, ctx,
                   Heads<T>(a.x), AngleTables(a.cos, a.sin), Heads<T>(a.y), deal, a.transposed);
}

}  // namespace

HN_SUPPORTS(rope, kFloats);
HN_SUPPORTS(rope_table, kFloat32);

Status rope(const Context& ctx, const RopeArgs& a) {
  return with_storage(a.x.dtype, [&](auto storage) {
    using T = decltype(storage);
    const bool wide = packs(a.x) && packs(a.y) && packs(a.cos) && packs(a.sin);
    if (a.interleaved) return wide ? launch_rope<T, kPack<T> / 2, true>(ctx, a) : launch_rope<T, 1, true>(ctx, a);
    const bool halves = wide && a.x.dim(3) / 2 % kPack<T> == 0;
    return halves ? launch_rope<T, kPack<T>, false>(ctx, a) : launch_rope<T, 1, false>(ctx, a);
  });
}

Status rope_table(const Context& ctx, const RopeTableArgs& a) {
  int64_t tokens = 1, width = 0;
  for (int32_t axis = 0; axis < a.sizes.count; ++axis) {
    tokens *= a.sizes[axis];
    width += a.axes[axis];
  }
  if (tokens == 0 || width == 0) return {};
  int64_t inner = tokens, column = 0;
  for (int32_t k = 0; k < a.sizes.count; ++k) {
    const Axis axis{a.sizes[k], a.axes[k], a.start, a.theta, a.interleaved};
    const int64_t pairs = axis.size * (axis.d / 2);
    float* const cosines = ctx.workspace<float>(2 * pairs);
    if (cosines == nullptr) return Status::no_memory();
    float* const sines = cosines + pairs;
    HN_RETURN_IF_ERROR(HN_LAUNCH((axis_kernel), ceil_div(pairs, kThreads), kThreads, 0, ctx, axis, Divider(axis.d / 2),
                                 cosines, sines));
    inner /= axis.size;
    HN_RETURN_IF_ERROR(HN_LAUNCH((spread_kernel), ceil_div(tokens * axis.d, kThreads), kThreads, 0, ctx, cosines, sines,
                                 axis, tokens, Divider(axis.d), Divider(inner), Divider(axis.size), a.cos.as<float>(),
                                 a.sin.as<float>(), column, width));
    column += axis.d;
  }
  return {};
}

}  // namespace hn::cuda
