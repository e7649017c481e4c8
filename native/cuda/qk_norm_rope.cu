// RMS norm over each head of queries and keys, times a weight, and rotation with interleaved pairs, in one pass.
//   n = x · r · w,  r = 1 / sqrt(mean(x²) + eps) over a head;   y = n turned (rotation.cuh)
//   g = dy turned back;  dx = r · (g · w − x · r² · mean(g · w · x));   dw = Σ_heads g · x · r
//
// q [B, S, H, D] and k [B, S, H', D] of any strides (parts of packed q, k, v), f32, bf16 or f16; results may lie over
// what is read. Weights [D] and tables [P, D] of any float type: the first P tokens are turned, the others only normed.
// Weight gradients are f32. Sums are f32; values are rounded once, when stored.
// Bytes: 2 · size(q, k) forward, 3 backward; a token's angles are read once for all of its heads. FLOPs: 8 and 14 an
// element. Bound by memory: [1, 118800, 24, 128] twice in bf16 moves 2.9 GB forward.
//
// A warp takes a token and walks over its heads, so that weight and angles stay in registers: 16 lanes of 8 elements to
// a head of 128 in bf16, two heads at a time. q and k are launched one after the other. Backward a block walks over a
// chunk of tokens and leaves its share of the weight's gradient (shares.cuh).
#include "core/generated/rope.h"
#include "cuda/device/reduce.cuh"
#include "cuda/device/rotation.cuh"
#include "cuda/device/shares.cuh"
#include "cuda/support.h"

namespace hn::cuda {
namespace {

/// How a head is dealt out: kLanes lanes hold kTurns packs of kPackSize elements each; kTurns = 0: heads of any size,
/// read pair by pair and again when needed.
template <int kPackSize_, int kLanes_, int kTurns_>
struct Config {
  static constexpr int kPackSize = kPackSize_, kLanes = kLanes_, kTurns = kTurns_;
  static constexpr bool kHeld = kTurns > 0;
  static constexpr int kHeads = kWarp / kLanes;  // that a warp takes at a time
  /// Batches of heads that are loaded before any is used, forward and backward.
  static constexpr int kForwardBatch = kTurns == 1 ? 4 : 1, kBackwardBatch = kTurns == 1 ? 2 : 1;
  static constexpr int kForwardWarps = 4;
  /// A block of one warp where the share does not fit its registers.
  static constexpr int kBackwardWarps = kHeld ? 8 : 1;
};

/// fn(T{}, Config{}) for heads of D elements; packs where all operands allow them.
template <class Fn, class... Views>
Status choose_config(Fn&& fn, const TensorView& x, const Views&... operands) {
  const int64_t d = x.dim(-1);
  const auto choose = [&](auto storage, auto pack) {
    constexpr int kWide = pack();
    if constexpr (kWide > 1) {
      if (d <= 16 * kWide) return fn(storage, Config<kWide, 16, 1>{});
      if (d <= 32 * kWide) return fn(storage, Config<kWide, 32, 1>{});
      if (d <= 64 * kWide) return fn(storage, Config<kWide, 32, 2>{});
    }
    return fn(storage, Config<2, 32, 0>{});
  };
  return with_packs(choose, x, operands...);
}

/// Values that a lane holds of a head.
template <class C>
using Held = float[C::kHeld ? C::kTurns : 1][C::kPackSize];

/// Calls fn(turn, i) for each pack of this lane, which begins at element i.
template <class C, class Fn>
HN_DEVICE void each_pack(int d, Fn&& fn) {
  const int first = lane_id() % C::kLanes * C::kPackSize;
  constexpr int kStep = C::kLanes * C::kPackSize;
  if constexpr (C::kHeld) {
#pragma unroll
    for (int turn = 0; turn < C::kTurns; ++turn) {
      if (first + turn * kStep < d) fn(turn, first + turn * kStep);
    }
  } else {
    for (int i = first; i < d; i += kStep) fn(0, i);
  }
}

/// Neighbouring pairs turned, or turned back.
template <int kCount>
HN_DEVICE void turn_pairs(float (&v)[kCount], const float (&cos)[kCount], const float (&sin)[kCount], bool back) {
#pragma unroll
  for (int k = 0; k < kCount; k += 2) Turn{cos[k], sin[k], cos[k + 1], sin[k + 1]}(v[k], v[k + 1], back);
}

/// What all heads of a token share, in registers where packs are held.
template <class C>
struct Token {
  AnyRow cos_row, sin_row;
  bool turned;
  Held<C> cos, sin;

  HN_DEVICE void open(const AngleTables& tables, const Divider& sequence, int64_t token, int d) {
    const int64_t position = sequence.split(token);
    turned = position < tables.positions;
    if (!turned) return;
    cos_row = tables.cos.row(position);
    sin_row = tables.sin.row(position);
    if constexpr (C::kHeld) each_pack<C>(d, [&](int turn, int i) { load(turn, i); });
  }
  HN_DEVICE void turn_pack(int turn, int i, float (&v)[C::kPackSize], bool back) {
    if (!turned) return;
    if constexpr (!C::kHeld) load(turn, i);
    turn_pairs(v, cos[turn], sin[turn], back);
  }

 private:
  HN_DEVICE void load(int turn, int i) {
    load_factors<C::kHeld>(cos_row, i, cos[turn]);
    load_factors<C::kHeld>(sin_row, i, sin[turn]);
  }
};

// --- forward -------------------------------------------------------------------------------------------------------

template <class T, class C>
__global__ void __launch_bounds__(C::kForwardWarps* kWarp)
    forward_kernel(Heads<T> x, AnyRows weights, AngleTables tables, Divider sequence, Heads<T> y, int64_t tokens,
                   int heads, int d, float eps) {
  const int64_t token = static_cast<int64_t>(blockIdx.x) * C::kForwardWarps + warp_id();
  if (token >= tokens) return;
  Token<C> shared;
  shared.open(tables, sequence, token, d);
  const AnyRow weight = weights.row(0);
  Held<C> w;
  if constexpr (C::kHeld) each_pack<C>(d, [&](int turn, int i) { weight.load(i, w[turn]); });
  const T* const from = x.token(token);
  T* const to = y.token(token);

  constexpr int kBatch = C::kForwardBatch;
  for (int base = 0; base < heads; base += kBatch * C::kHeads) {
    const int first = base + lane_id() / C::kLanes;
    Held<C> v[kBatch];
    float r[kBatch] = {};
#pragma unroll
    for (int u = 0; u < kBatch; ++u) {
      const int h = first + u * C::kHeads;
      if (h >= heads) continue;
      const T* const head = from + x.head(h);
      each_pack<C>(d, [&](int turn, int i) {
        x.template load<C::kHeld>(head, i, v[u][turn]);
#pragma unroll
        for (int k = 0; k < C::kPackSize; ++k) r[u] += v[u][turn][k] * v[u][turn][k];
      });
    }
#pragma unroll
    for (int u = 0; u < kBatch; ++u) r[u] = 1.0f / sqrtf(warp_sum<C::kLanes>(r[u]) / static_cast<float>(d) + eps);
#pragma unroll
    for (int u = 0; u < kBatch; ++u) {
      const int h = first + u * C::kHeads;
      if (h >= heads) continue;
      const T* const head = from + x.head(h);
      T* const out = to + y.head(h);
      each_pack<C>(d, [&](int turn, int i) {
        if constexpr (!C::kHeld) {
          x.template load<false>(head, i, v[u][turn]);
          load_factors<false>(weight, i, w[turn]);
        }
#pragma unroll
        for (int k = 0; k < C::kPackSize; ++k) v[u][turn][k] *= r[u] * w[turn][k];
        shared.turn_pack(turn, i, v[u][turn], false);
        y.template store<C::kHeld>(out, i, v[u][turn]);
      });
    }
  }
}

// --- backward ------------------------------------------------------------------------------------------------------

/// Adds up what the warps hold of the weight's gradient: share[i] of the block.
template <class C>
HN_DEVICE void leave_share(Held<C>& sum, int d, float* share) {
  constexpr int kWidth = C::kLanes * C::kTurns * C::kPackSize;
  HN_SHARED(float, sums, [C::kBackwardWarps][kWidth]);
#pragma unroll
  for (int turn = 0; turn < C::kTurns; ++turn) {
#pragma unroll
    for (int k = 0; k < C::kPackSize; ++k) {
#pragma unroll
      for (int mask = C::kLanes; mask < kWarp; mask *= 2) sum[turn][k] += shuffle_xor(sum[turn][k], mask);
    }
  }
  each_pack<C>(d, [&](int turn, int i) {
    if (lane_id() >= C::kLanes) return;
#pragma unroll
    for (int k = 0; k < C::kPackSize; ++k) sums[warp_id()][i + k] = sum[turn][k];
  });
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < d; i += C::kBackwardWarps * kWarp) {
    float total = sums[0][i];
#pragma unroll
    for (int warp = 1; warp < C::kBackwardWarps; ++warp) total += sums[warp][i];
    share[i] = total;
  }
}

/// Block b takes chunk b of the tokens, its warps in turn. shares: [chunks, D] in f32, or nullptr.
template <class T, class C>
__global__ void __launch_bounds__(C::kBackwardWarps* kWarp)
    backward_kernel(Heads<T> dy, Heads<T> x, AnyRows weights, AngleTables tables, Divider sequence, Heads<T> dx,
                    bool want_x, float* shares, RowChunks chunks, int heads, int d, float eps) {
  const RowSpan span = chunks.span(blockIdx.x);
  const AnyRow weight = weights.row(0);
  float* const share = shares != nullptr ? shares + static_cast<int64_t>(blockIdx.x) * d : nullptr;
  Held<C> w, sum = {};
  if constexpr (C::kHeld) {
    each_pack<C>(d, [&](int turn, int i) { weight.load(i, w[turn]); });
  } else if (share != nullptr) {
    each_pack<C>(d, [&](int, int i) { share[i] = share[i + 1] = 0; });
  }

  constexpr int kBatch = C::kBackwardBatch;
  const float count = static_cast<float>(d);
  for (int64_t token = span.begin + warp_id(); token < span.end; token += C::kBackwardWarps) {
    Token<C> shared;
    shared.open(tables, sequence, token, d);
    const T *const x_token = x.token(token), *const dy_token = dy.token(token);
    T* const dx_token = want_x ? dx.token(token) : nullptr;
    for (int base = 0; base < heads; base += kBatch * C::kHeads) {
      const int first = base + lane_id() / C::kLanes;
      Held<C> v[kBatch], g[kBatch];
      float squares[kBatch] = {}, products[kBatch] = {};
      // x and the gradient turned back, for one pack.
      const auto load = [&](int u, int turn, int i) {
        x.template load<C::kHeld>(x_token + x.head(first + u * C::kHeads), i, v[u][turn]);
        dy.template load<C::kHeld>(dy_token + dy.head(first + u * C::kHeads), i, g[u][turn]);
        if constexpr (!C::kHeld) load_factors<false>(weight, i, w[turn]);
        shared.turn_pack(turn, i, g[u][turn], true);
      };
#pragma unroll
      for (int u = 0; u < kBatch; ++u) {
        if (first + u * C::kHeads >= heads) continue;
        each_pack<C>(d, [&](int turn, int i) {
          load(u, turn, i);
#pragma unroll
          for (int k = 0; k < C::kPackSize; ++k) {
            squares[u] += v[u][turn][k] * v[u][turn][k];
            products[u] += g[u][turn][k] * w[turn][k] * v[u][turn][k];
          }
        });
      }
#pragma unroll
      for (int u = 0; u < kBatch; ++u) {
        squares[u] = warp_sum<C::kLanes>(squares[u]);
        products[u] = warp_sum<C::kLanes>(products[u]);
      }
#pragma unroll
      for (int u = 0; u < kBatch; ++u) {
        if (first + u * C::kHeads >= heads) continue;
        const float r = 1.0f / sqrtf(squares[u] / count + eps), pull = r * r * (products[u] / count);
        T* const out = want_x ? dx_token + dx.head(first + u * C::kHeads) : nullptr;
        each_pack<C>(d, [&](int turn, int i) {
          if constexpr (!C::kHeld) load(u, turn, i);
#pragma unroll
          for (int k = 0; k < C::kPackSize; ++k) {
            const float value = v[u][turn][k], gradient = g[u][turn][k], part = gradient * value * r;
            if constexpr (C::kHeld) sum[turn][k] += part;
            // Of any size: the share is kept in memory, where only this lane touches these elements.
            else if (share != nullptr)
              share[i + k] += part;
            v[u][turn][k] = r * (gradient * w[turn][k] - value * pull);
          }
          if (want_x) dx.template store<C::kHeld>(out, i, v[u][turn]);
        });
      }
    }
  }
  if constexpr (C::kHeld) {
    if (share != nullptr) leave_share<C>(sum, d, share);
  }
}

// --- launchers -----------------------------------------------------------------------------------------------------

Status norm_rope(const Context& ctx, const TensorView& x, const TensorView& weight, const TensorView& cos,
                 const TensorView& sin, double eps, const TensorView& y) {
  if (x.elements() == 0) return {};
  const int64_t tokens = x.dim(0) * x.dim(1);
  return choose_config(
      [&](auto storage, auto config) {
        using T = decltype(storage);
        using C = decltype(config);
        return HN_LAUNCH((forward_kernel<T, C>), ceil_div(tokens, C::kForwardWarps), C::kForwardWarps * kWarp, 0, ctx,
                         Heads<T>(x), AnyRows(weight), AngleTables(cos, sin), Divider(x.dim(1)), Heads<T>(y), tokens,
                         static_cast<int>(x.dim(2)), static_cast<int>(x.dim(3)), static_cast<float>(eps));
      },
      x, y, weight, cos, sin);
}

/// What one of q and k needs for its gradient. dx and dweight are left out when not wanted.
struct Side {
  TensorView dy, x, weight, dx, dweight;
};

Status norm_rope_backward(const Context& ctx, const Side& a, const TensorView& cos, const TensorView& sin, double eps) {
  if (!a.dx && !a.dweight) return {};
  if (a.dy.dtype != a.x.dtype)
    return Status::missing("qk_norm_rope_backward: a gradient is of another type than q and k");
  const int64_t d = a.x.dim(3), tokens = a.x.elements() > 0 ? a.x.dim(0) * a.x.dim(1) : 0;
  const RowChunks chunks(1, tokens, 8, a.dweight ? RowChunks::kMost : tokens);
  float* shares = nullptr;
  if (a.dweight && (shares = ctx.workspace<float>(chunks.count() * d)) == nullptr) return Status::no_memory();
  HN_RETURN_IF_ERROR(choose_config(
      [&](auto storage, auto config) {
        using T = decltype(storage);
        using C = decltype(config);
        return HN_LAUNCH((backward_kernel<T, C>), chunks.count(), C::kBackwardWarps * kWarp, 0, ctx, Heads<T>(a.dy),
                         Heads<T>(a.x), AnyRows(a.weight), AngleTables(cos, sin), Divider(a.x.dim(1)), Heads<T>(a.dx),
                         static_cast<bool>(a.dx), shares, chunks, static_cast<int>(a.x.dim(2)), static_cast<int>(d),
                         static_cast<float>(eps));
      },
      a.x, a.dy, a.dx, a.weight, cos, sin));
  return a.dweight ? add_shares(ctx, shares, chunks.count(), d, a.dweight) : Status{};
}

}  // namespace

HN_SUPPORTS(qk_norm_rope, kFloats);
HN_SUPPORTS(qk_norm_rope_backward, kFloats);

Status qk_norm_rope(const Context& ctx, const QkNormRopeArgs& a) {
  HN_RETURN_IF_ERROR(norm_rope(ctx, a.q, a.q_weight, a.cos, a.sin, a.eps, a.q_out));
  return norm_rope(ctx, a.k, a.k_weight, a.cos, a.sin, a.eps, a.k_out);
}

Status qk_norm_rope_backward(const Context& ctx, const QkNormRopeBackwardArgs& a) {
  HN_RETURN_IF_ERROR(norm_rope_backward(ctx, {a.dq_out, a.q, a.q_weight, a.dq, a.dq_weight}, a.cos, a.sin, a.eps));
  return norm_rope_backward(ctx, {a.dk_out, a.k, a.k_weight, a.dk, a.dk_weight}, a.cos, a.sin, a.eps);
}

}  // namespace hn::cuda
