// Layer normalisation over the last axis, C elements a row, with the modulation of a diffusion transformer.
//   n = (x − mean) · r,  r = 1 / sqrt(mean((x − mean)²) + eps);   y = (n · w + b) · (1 + scale) + shift
//   g = dy · (1 + scale) · w;   dx = r · (g − mean(g) − n · mean(g · n))
// w and b are [C]. shift and scale have a row for each group of consecutive rows of x: [B, C] beside [B, S, C], or a
// row for each row. With S0 = Σ dy and S1 = Σ dy · n over the rows of a group:
//   dshift = S0,  dscale = w · S1 + b · S0,  db = Σ_groups (1 + scale) · S0,  dw = Σ_groups (1 + scale) · S1
// Bound by memory: one read and one write of x forward, two reads and one write backward.
#include "core/generated/norm.h"
#include "cpu/context.h"
#include "cpu/kernels/dispatch.h"
#include "cpu/kernels/rows.h"
#include "cpu/kernels/scratch.h"
#include "cpu/kernels/shares.h"

namespace hn::cpu::HN_ISA {
namespace {

template <class Acc>
struct Moments {
  Acc mean, r;
};

/// Two passes: the variance is a mean of squares of small numbers, also where the mean is large.
template <class Acc>
Moments<Acc> moments(const Acc* x, int64_t n, double eps) {
  const Acc mean = sum_of<Acc>(n, [=](int64_t i) { return x[i]; }) / Acc(n);
  const Acc squares = sum_of<Acc>(n, [=](int64_t i) { return (x[i] - mean) * (x[i] - mean); });
  return {mean, static_cast<Acc>(1 / __builtin_sqrt(squares / Acc(n) + Acc(eps)))};
}

/// Groups of rows that share a row of shift and scale (which come together).
int64_t groups_of(const TensorView& x, const TensorView& scale) { return scale ? scale.rows() : x.rows() > 0 ? 1 : 0; }

/// y = n · gain + offset: what weight, bias, shift and scale come to for the rows of one group.
template <class Acc>
class Affine {
 public:
  Affine(const TensorView& weight, const TensorView& bias, const TensorView& shift, const TensorView& scale)
      : weight_(weight), bias_(bias), shift_(shift), scale_(scale), shift_rows_(shift), scale_rows_(scale) {}

  void prepare(int64_t group, int64_t n, Acc* gain, Acc* offset, Acc* scratch) const {
    const auto fill = [=](const TensorView& from, Acc missing, Acc* to) {
      if (!from) {
        for (int64_t i = 0; i < n; ++i) to[i] = missing;
      } else if (const Acc* values = row_in(from.dtype, from.data, n, to); values != to) {
        for (int64_t i = 0; i < n; ++i) to[i] = values[i];
      }
    };
    fill(weight_, Acc(1), gain);
    fill(bias_, Acc(0), offset);
    if (scale_) {
      const Acc* scale = scale_rows_.load(group, scratch);
      for (int64_t i = 0; i < n; ++i) gain[i] *= Acc(1) + scale[i];
      for (int64_t i = 0; i < n; ++i) offset[i] *= Acc(1) + scale[i];
    }
    if (shift_) {
      const Acc* shift = shift_rows_.load(group, scratch);
      for (int64_t i = 0; i < n; ++i) offset[i] += shift[i];
    }
  }

 private:
  TensorView weight_, bias_, shift_, scale_;
  Rows<Acc> shift_rows_, scale_rows_;
};

template <class Acc>
Status forward(const Context& ctx, const LayerNormArgs& a) {
  const Rows<Acc> x(a.x), y(a.y);
  const int64_t width = x.width(), rows = a.x.rows();
  if (rows == 0 || width == 0) return {};
  const int64_t per_group = rows / groups_of(a.x, a.scale);
  const Affine<Acc> affine(a.weight, a.bias, a.shift, a.scale);
  const Scratch<Acc> scratch(ctx, 4 * width);
  if (!scratch.ok()) return Status::no_memory();
  const int64_t chunk = rows_per_chunk(width);
  ctx.parallel_for(ceil_div(rows, chunk), [&](int64_t c) {
    const typename Scratch<Acc>::Lease lease(scratch);
    Acc *in = lease.data(), *out = in + width, *gain = out + width, *offset = gain + width;
    int64_t prepared = -1;
    for (int64_t row = c * chunk; row < rows && row < (c + 1) * chunk; ++row) {
      if (row / per_group != prepared) {
        prepared = row / per_group;
        affine.prepare(prepared, width, gain, offset, in);
      }
      const Acc* v = x.load(row, in);
      Acc* o = y.open(row, out);
      const auto [mean, r] = moments(v, width, a.eps);
      for (int64_t i = 0; i < width; ++i) o[i] = (v[i] - mean) * r * gain[i] + offset[i];
      y.finish(row, o);
    }
  });
  return {};
}

// --- backward
// ---------------------------------------------------------------------------------------------------------

/// One pass over the rows: dx, and the shares of S0 and S1 that each chunk of rows adds up.
template <class Acc>
class Backward {
 public:
  Backward(const Context& ctx, const LayerNormBackwardArgs& args)
      : ctx_(ctx),
        a_(args),
        dy_(a_.dy),
        x_(a_.x),
        dx_(a_.dx),
        dshift_(a_.dshift),
        dscale_(a_.dscale),
        scale_(a_.scale),
        width_(x_.width()),
        modulated_(groups_of(a_.x, a_.scale)),
        by_row_(a_.x.rows() > 0 && modulated_ == a_.x.rows()),
        chunks_(by_row_ ? 1 : modulated_, a_.x.rows() / (by_row_ || modulated_ == 0 ? 1 : modulated_), width_),
        affine_(a_.weight, TensorView{}, TensorView{}, a_.scale) {}

  Status run() const {
    if (width_ == 0) return {};
    const bool sums = a_.dweight || a_.dbias || (!by_row_ && (a_.dshift || a_.dscale));
    const Scratch<Acc> scratch(ctx_, 7 * width_);
    Acc* shares = sums ? ctx_.workspace<Acc>((chunks_.count() > 0 ? chunks_.count() : 1) * 2 * width_) : nullptr;
    if (!scratch.ok() || (sums && shares == nullptr)) return Status::no_memory();
    ctx_.parallel_for(chunks_.count(), [&](int64_t c) {
      const typename Scratch<Acc>::Lease lease(scratch);
      Acc* share = sums ? shares + c * 2 * width_ : nullptr;
      if (share != nullptr)
        for (int64_t i = 0; i < 2 * width_; ++i) share[i] = 0;
      rows(c, lease.data(), share);
    });
    if (sums) finish(shares);
    return {};
  }

 private:
  void rows(int64_t c, Acc* scratch, Acc* share) const {
    Acc *in = scratch, *grad = in + width_, *out = grad + width_, *gain = out + width_, *unused = gain + width_;
    Acc *weight = unused + width_, *bias = weight + width_;
    const Acc* w = a_.weight ? row_in(a_.weight.dtype, a_.weight.data, width_, weight) : nullptr;
    const Acc* b = a_.bias ? row_in(a_.bias.dtype, a_.bias.data, width_, bias) : nullptr;
    int64_t prepared = -1;
    for (int64_t row = chunks_.begin(c); row < chunks_.end(c); ++row) {
      const int64_t group = by_row_ ? row : chunks_.group(c);
      if (group != prepared) affine_.prepare(prepared = group, width_, gain, unused, in);
      const Acc *v = x_.load(row, in), *g = dy_.load(row, grad);
      const auto moment = moments(v, width_, a_.eps);
      const Acc mean = moment.mean, r = moment.r;  // (plain names: lambdas do not capture structured bindings)
      if (a_.dx) {
        Acc* o = dx_.open(row, out);
        const Acc m0 = sum_of<Acc>(width_, [=](int64_t i) { return g[i] * gain[i]; }) / Acc(width_);
        const Acc m1 =
            sum_of<Acc>(width_, [=](int64_t i) { return g[i] * gain[i] * ((v[i] - mean) * r); }) / Acc(width_);
        for (int64_t i = 0; i < width_; ++i) o[i] = r * (g[i] * gain[i] - m0 - (v[i] - mean) * r * m1);
        dx_.finish(row, o);
      }
      if (by_row_) modulation_of_row(row, v, g, w, b, mean, r, out);
      if (share != nullptr) add_row(row, v, g, mean, r, share, unused);
    }
  }

  void modulation_of_row(int64_t row, const Acc* v, const Acc* g, const Acc* w, const Acc* b, Acc mean, Acc r,
                         Acc* out) const {
    if (a_.dshift) dshift_.finish(row, g);
    if (!a_.dscale) return;
    for (int64_t i = 0; i < width_; ++i)
      out[i] = g[i] * ((v[i] - mean) * r * (w != nullptr ? w[i] : Acc(1)) + (b != nullptr ? b[i] : Acc(0)));
    dscale_.finish(row, out);
  }

  /// Where each row has a scale of its own, the factor 1 + scale must go into the sums here.
  void add_row(int64_t row, const Acc* v, const Acc* g, Acc mean, Acc r, Acc* share, Acc* scratch) const {
    Acc *s0 = share, *s1 = share + width_;
    if (by_row_ && a_.scale) {
      const Acc* scale = scale_.load(row, scratch);
      for (int64_t i = 0; i < width_; ++i) {
        const Acc d = g[i] * (Acc(1) + scale[i]);
        s0[i] += d;
        s1[i] += d * ((v[i] - mean) * r);
      }
      return;
    }
    for (int64_t i = 0; i < width_; ++i) {
      s0[i] += g[i];
      s1[i] += g[i] * ((v[i] - mean) * r);
    }
  }

  void finish(const Acc* shares) const {
    const Rows<Acc> dweight(a_.dweight), dbias(a_.dbias), weight(a_.weight), bias(a_.bias);
    ctx_.parallel_for(ceil_div(width_, kShareColumns), [&](int64_t task) {
      const int64_t column = task * kShareColumns;
      const int64_t n = width_ - column < kShareColumns ? width_ - column : kShareColumns;
      Acc s0[kShareColumns], s1[kShareColumns], buffer[kShareColumns], dw[kShareColumns] = {}, db[kShareColumns] = {};
      for (int64_t group = 0; group < chunks_.groups; ++group) {
        const Acc* first = shares + group * chunks_.per_group * 2 * width_;
        add_in_order(first, 2 * width_, chunks_.per_group, column, n, s0);
        add_in_order(first, 2 * width_, chunks_.per_group, width_ + column, n, s1);
        const Acc* factor = a_.scale && !by_row_ ? scale_.load_part(group, column, n, buffer) : nullptr;
        for (int64_t i = 0; i < n; ++i) {
          const Acc f = factor != nullptr ? Acc(1) + factor[i] : Acc(1);
          db[i] += f * s0[i];
          dw[i] += f * s1[i];
        }
        if (by_row_) continue;
        if (a_.dshift) dshift_.store_part(group, column, n, s0);
        if (!a_.dscale) continue;
        if (a_.weight) {
          const Acc* w = weight.load_part(0, column, n, buffer);
          for (int64_t i = 0; i < n; ++i) s1[i] *= w[i];
        }
        if (a_.bias) {
          const Acc* b = bias.load_part(0, column, n, buffer);
          for (int64_t i = 0; i < n; ++i) s1[i] += b[i] * s0[i];
        }
        dscale_.store_part(group, column, n, s1);
      }
      if (a_.dweight) dweight.store_part(0, column, n, dw);
      if (a_.dbias) dbias.store_part(0, column, n, db);
    });
  }

  const Context& ctx_;
  const LayerNormBackwardArgs& a_;
  const Rows<Acc> dy_, x_, dx_, dshift_, dscale_, scale_;
  const int64_t width_, modulated_;  // modulated_: rows of shift and scale
  const bool by_row_;                // each row of x has its own shift and scale
  const RowChunks chunks_;
  const Affine<Acc> affine_;
};

}  // namespace

Status layer_norm(const Context& ctx, const LayerNormArgs& a) {
  return with_float_acc(a.x.dtype, [&](auto acc) { return forward<decltype(acc)>(ctx, a); });
}

Status layer_norm_backward(const Context& ctx, const LayerNormBackwardArgs& a) {
  return with_float_acc(a.x.dtype, [&](auto acc) { return Backward<decltype(acc)>(ctx, a).run(); });
}

}  // namespace hn::cpu::HN_ISA
