// Rotary position embedding: tables, rotation, and RMS norm with rotation for queries and keys.
//   pair (a, b) of a head, (2j, 2j + 1) interleaved or (j, j + D/2) in halves:
//   a' = a · cos_a − b · sin_a,   b' = b · cos_b + a · sin_b;   the gradient is the transposed map
// x is [B, S, H, D], the tables [P, D]: the first P tokens are rotated, the others pass unchanged.
// Bound by memory: one read and one write of x; the tables, read once for all heads of a token, are small beside it.
#include <cstring>

#include "core/generated/rope.h"
#include "cpu/context.h"
#include "cpu/kernels/dispatch.h"
#include "cpu/kernels/rows.h"
#include "cpu/kernels/scratch.h"
#include "cpu/kernels/shares.h"

namespace hn::cpu::HN_ISA {
namespace {

/// A token's row of the tables; no addresses for a token that is not rotated.
template <class Acc>
struct Angles {
  const Acc *cos = nullptr, *sin = nullptr;
  explicit operator bool() const { return cos != nullptr; }
};

/// The tables, of any float type, or none at all.
template <class Acc>
struct Tables {
  Tables(const TensorView& c, const TensorView& s) : cos(c), sin(s), positions(c ? c.rows() : 0) {}
  /// `scratch` holds two rows.
  Angles<Acc> at(int64_t position, Acc* scratch) const {
    if (position >= positions) return {};
    return {cos.load(position, scratch), sin.load(position, scratch + cos.width())};
  }
  Rows<Acc> cos, sin;
  int64_t positions;
};

/// y = x rotated.
template <class Acc>
void rotate(const Acc* __restrict x, Angles<Acc> angles, int64_t d, bool interleaved, Acc* __restrict y) {
  const Acc* __restrict cos = angles.cos;
  const Acc* __restrict sin = angles.sin;
  const int64_t half = d / 2;
  if (interleaved) {
    for (int64_t j = 0; j < half; ++j) {
      const Acc a = x[2 * j], b = x[2 * j + 1];
      y[2 * j] = a * cos[2 * j] - b * sin[2 * j];
      y[2 * j + 1] = b * cos[2 * j + 1] + a * sin[2 * j + 1];
    }
  } else {
    for (int64_t j = 0; j < half; ++j) {
      const Acc a = x[j], b = x[j + half];
      y[j] = a * cos[j] - b * sin[j];
      y[j + half] = b * cos[j + half] + a * sin[j + half];
    }
  }
}

/// The transposed map: the inverse rotation where both places of a pair have the same angle.
template <class Acc>
void rotate_back(const Acc* __restrict x, Angles<Acc> angles, int64_t d, bool interleaved, Acc* __restrict y) {
  const Acc* __restrict cos = angles.cos;
  const Acc* __restrict sin = angles.sin;
  const int64_t half = d / 2;
  if (interleaved) {
    for (int64_t j = 0; j < half; ++j) {
      const Acc a = x[2 * j], b = x[2 * j + 1];
      y[2 * j] = a * cos[2 * j] + b * sin[2 * j + 1];
      y[2 * j + 1] = b * cos[2 * j + 1] - a * sin[2 * j];
    }
  } else {
    for (int64_t j = 0; j < half; ++j) {
      const Acc a = x[j], b = x[j + half];
      y[j] = a * cos[j] + b * sin[j + half];
      y[j + half] = b * cos[j + half] - a * sin[j];
    }
  }
}

/// Tokens in a chunk of about the usual size.
int64_t tokens_per_chunk(const TensorView& x) { return rows_per_chunk(x.dim(-1) * (x.dim(2) > 0 ? x.dim(2) : 1)); }

template <class Acc>
Status rope_of(const Context& ctx, const RopeArgs& a) {
  const Rows<Acc> x(a.x), y(a.y);
  const Tables<Acc> tables(a.cos, a.sin);
  const int64_t tokens = a.x.dim(0) * a.x.dim(1), sequence = a.x.dim(1), heads = a.x.dim(2), d = x.width();
  const Scratch<Acc> scratch(ctx, 4 * d);
  if (!scratch.ok()) return Status::no_memory();
  const int64_t chunk = tokens_per_chunk(a.x);
  ctx.parallel_for(ceil_div(tokens, chunk), [&](int64_t c) {
    const typename Scratch<Acc>::Lease lease(scratch);
    Acc *in = lease.data(), *out = in + d, *table = out + d;
    for (int64_t token = c * chunk; token < tokens && token < (c + 1) * chunk; ++token) {
      const Angles<Acc> angles = tables.at(token % sequence, table);
      for (int64_t row = token * heads; row < (token + 1) * heads; ++row) {
        const Acc* v = x.load(row, in);
        if (!angles) {
          y.finish(row, v);
          continue;
        }
        Acc* o = y.open(row, out);
        if (a.transposed) {
          rotate_back(v, angles, d, a.interleaved, o);
        } else {
          rotate(v, angles, d, a.interleaved, o);
        }
        y.finish(row, o);
      }
    }
  });
  return {};
}

// --- RMS norm and rotation
// --------------------------------------------------------------------------------------------

template <class Acc>
Acc inverse_rms(const Acc* x, int64_t n, double eps) {
  const Acc squares = sum_of<Acc>(n, [=](int64_t i) { return x[i] * x[i]; });
  return static_cast<Acc>(1 / __builtin_sqrt(squares / Acc(n) + Acc(eps)));
}

/// y = rotated(x · r · w) for one of q and k.
template <class Acc>
Status norm_rope(const Context& ctx, const TensorView& in_view, const TensorView& weight_view,
                 const Tables<Acc>& tables, double eps, const TensorView& out_view) {
  const Rows<Acc> x(in_view), y(out_view);
  const int64_t sequence = in_view.dim(1), heads = in_view.dim(2), d = x.width();
  const int64_t tokens = in_view.dim(0) * sequence;
  const Scratch<Acc> scratch(ctx, 6 * d);
  if (!scratch.ok()) return Status::no_memory();
  const int64_t chunk = tokens_per_chunk(in_view);
  ctx.parallel_for(ceil_div(tokens, chunk), [&](int64_t c) {
    const typename Scratch<Acc>::Lease lease(scratch);
    Acc *in = lease.data(), *out = in + d, *normed = out + d, *weight = normed + d, *table = weight + d;
    const Acc* w = row_in(weight_view.dtype, weight_view.data, d, weight);
    for (int64_t token = c * chunk; token < tokens && token < (c + 1) * chunk; ++token) {
      const Angles<Acc> angles = tables.at(token % sequence, table);
      for (int64_t row = token * heads; row < (token + 1) * heads; ++row) {
        const Acc* v = x.load(row, in);
        const Acc r = inverse_rms(v, d, eps);
        Acc* o = y.open(row, out);
        Acc* n = angles ? normed : o;
        for (int64_t i = 0; i < d; ++i) n[i] = v[i] * r * w[i];
        if (angles) rotate(n, angles, d, true, o);
        y.finish(row, o);
      }
    }
  });
  return {};
}

/// What one of q and k needs for its gradient. dx and dweight are left out when not wanted.
struct NormRopeGradient {
  TensorView dy, x, weight, dx, dweight;
};

/// g = dy rotated back;  dx = r · (g · w − x · r² · mean(g · w · x));  dw = Σ_rows g · x · r
template <class Acc>
Status norm_rope_backward(const Context& ctx, const NormRopeGradient& a, const Tables<Acc>& tables, double eps) {
  if (!a.dx && !a.dweight) return {};
  const Rows<Acc> dy(a.dy), x(a.x), dx(a.dx);
  const int64_t sequence = a.x.dim(1), heads = a.x.dim(2), d = x.width();
  const RowChunks chunks(1, a.x.dim(0) * sequence, d * (heads > 0 ? heads : 1));
  const Scratch<Acc> scratch(ctx, 7 * d);
  Acc* shares = a.dweight ? ctx.workspace<Acc>((chunks.count() + 1) * d) : nullptr;
  if (!scratch.ok() || (a.dweight && shares == nullptr)) return Status::no_memory();
  ctx.parallel_for(chunks.count(), [&](int64_t c) {
    const typename Scratch<Acc>::Lease lease(scratch);
    Acc *in = lease.data(), *grad = in + d, *out = grad + d, *back = out + d, *weight = back + d, *table = weight + d;
    const Acc* w = row_in(a.weight.dtype, a.weight.data, d, weight);
    Acc* share = shares != nullptr ? shares + c * d : nullptr;
    if (share != nullptr)
      for (int64_t i = 0; i < d; ++i) share[i] = 0;
    for (int64_t token = chunks.begin(c); token < chunks.end(c); ++token) {
      const Angles<Acc> angles = tables.at(token % sequence, table);
      for (int64_t row = token * heads; row < (token + 1) * heads; ++row) {
        const Acc *v = x.load(row, in), *dout = dy.load(row, grad);
        if (angles) rotate_back(dout, angles, d, true, back);
        const Acc* gradient = angles ? back : dout;
        const Acc r = inverse_rms(v, d, eps);
        if (share != nullptr)
          for (int64_t i = 0; i < d; ++i) share[i] += gradient[i] * v[i] * r;
        if (!a.dx) continue;
        const Acc mean = sum_of<Acc>(d, [=](int64_t i) { return gradient[i] * w[i] * v[i]; }) / Acc(d);
        const Acc pull = r * r * mean;
        Acc* o = dx.open(row, out);
        for (int64_t i = 0; i < d; ++i) o[i] = r * (gradient[i] * w[i] - v[i] * pull);
        dx.finish(row, o);
      }
    }
  });
  if (shares != nullptr) store_share_sums(ctx, shares, d, chunks, a.dweight);
  return {};
}

// --- tables
// -----------------------------------------------------------------------------------------------------------

/// Angles are formed in float, as the reference does: frequency, and position times frequency, are rounded to float.
float angle(int64_t position, int64_t j, int64_t d, double theta) {
  const float exponent = static_cast<float>(2 * j) / static_cast<float>(d);
  const float frequency = 1.0f / static_cast<float>(__builtin_pow(theta, static_cast<double>(exponent)));
  return static_cast<float>(position) * frequency;
}

/// Places in a row of an axis' d columns where pair j stands.
struct Pair {
  int64_t first, second;
};
Pair pair_at(int64_t j, int64_t d, bool interleaved) {
  return interleaved ? Pair{2 * j, 2 * j + 1} : Pair{j, j + d / 2};
}

}  // namespace

Status rope_table(const Context& ctx, const RopeTableArgs& a) {
  // An axis has few positions, so cos and sin are computed once for each and copied to the tokens that share it.
  int64_t tokens = 1, width = 0, values = 0;
  for (int32_t axis = 0; axis < a.sizes.count; ++axis) {
    tokens *= a.sizes[axis];
    width += a.axes[axis];
    values += a.sizes[axis] * a.axes[axis];
  }
  if (tokens == 0 || width == 0) return {};
  float* cos = ctx.workspace<float>(2 * values);
  if (cos == nullptr) return Status::no_memory();
  float* sin = cos + values;
  int64_t start = 0;
  for (int32_t axis = 0; axis < a.sizes.count; ++axis) {
    const int64_t d = a.axes[axis];
    ctx.parallel_for(a.sizes[axis], [&](int64_t position) {
      for (int64_t j = 0; j < d / 2; ++j) {
        const double x = static_cast<double>(angle(a.start + position, j, d, a.theta));
        const Pair at = pair_at(j, d, a.interleaved);
        const int64_t row = start + position * d;
        cos[row + at.first] = cos[row + at.second] = static_cast<float>(__builtin_cos(x));
        sin[row + at.first] = sin[row + at.second] = static_cast<float>(__builtin_sin(x));
      }
    });
    start += a.sizes[axis] * d;
  }
  const int64_t chunk = rows_per_chunk(width);
  ctx.parallel_for(ceil_div(tokens, chunk), [&](int64_t c) {
    for (int64_t token = c * chunk; token < tokens && token < (c + 1) * chunk; ++token) {
      int64_t rest = token, column = width, from = values;
      for (int32_t axis = a.sizes.count - 1; axis >= 0; --axis) {
        const int64_t d = a.axes[axis], position = rest % a.sizes[axis];
        rest /= a.sizes[axis];
        column -= d;
        from -= a.sizes[axis] * d;
        const size_t bytes = static_cast<size_t>(d) * sizeof(float);
        std::memcpy(a.cos.as<float>() + token * width + column, cos + from + position * d, bytes);
        std::memcpy(a.sin.as<float>() + token * width + column, sin + from + position * d, bytes);
      }
    }
  });
  return {};
}

Status rope(const Context& ctx, const RopeArgs& a) {
  return with_float_acc(a.x.dtype, [&](auto acc) { return rope_of<decltype(acc)>(ctx, a); });
}

Status qk_norm_rope(const Context& ctx, const QkNormRopeArgs& a) {
  return with_float_acc(a.q.dtype, [&](auto acc) {
    const Tables<decltype(acc)> tables(a.cos, a.sin);
    HN_RETURN_IF_ERROR(norm_rope(ctx, a.q, a.q_weight, tables, a.eps, a.q_out));
    return norm_rope(ctx, a.k, a.k_weight, tables, a.eps, a.k_out);
  });
}

Status qk_norm_rope_backward(const Context& ctx, const QkNormRopeBackwardArgs& a) {
  return with_float_acc(a.q ? a.q.dtype : a.k.dtype, [&](auto acc) {
    const Tables<decltype(acc)> tables(a.cos, a.sin);
    HN_RETURN_IF_ERROR(norm_rope_backward(ctx, {a.dq_out, a.q, a.q_weight, a.dq, a.dq_weight}, tables, a.eps));
    return norm_rope_backward(ctx, {a.dk_out, a.k, a.k_weight, a.dk, a.dk_weight}, tables, a.eps);
  });
}

}  // namespace hn::cpu::HN_ISA
