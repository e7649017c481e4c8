// RMS normalisation over the last axis, C elements a row.
//   y = x · r · w,  r = 1 / sqrt(mean(x²) + eps)
//   dx = r · (g − x · r² · mean(g · x)),  g = dy · w;   dw = Σ_rows dy · x · r
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
Acc inverse_rms(const Acc* x, int64_t n, double eps) {
  const Acc squares = sum_of<Acc>(n, [=](int64_t i) { return x[i] * x[i]; });
  return Acc(1) / __builtin_sqrt(squares / Acc(n) + Acc(eps));
}

template <class Acc>
Status forward(const Context& ctx, const RmsNormArgs& a) {
  const Rows<Acc> x(a.x), y(a.y);
  const int64_t width = x.width(), rows = a.x.rows();
  const Scratch<Acc> scratch(ctx, 3 * width);
  if (!scratch.ok()) return Status::no_memory();
  const int64_t chunk = rows_per_chunk(width);
  ctx.parallel_for(ceil_div(rows, chunk), [&](int64_t c) {
    const typename Scratch<Acc>::Lease lease(scratch);
    Acc *in = lease.data(), *out = in + width, *weight = out + width;
    const Acc* w = a.weight ? row_in(a.weight.dtype, a.weight.data, width, weight) : nullptr;
    for (int64_t row = c * chunk; row < rows && row < (c + 1) * chunk; ++row) {
      const Acc* v = x.load(row, in);
      Acc* o = y.open(row, out);
      const Acc r = inverse_rms(v, width, a.eps);
      for (int64_t i = 0; i < width; ++i) o[i] = v[i] * r * (w != nullptr ? w[i] : Acc(1));
      y.finish(row, o);
    }
  });
  return {};
}

template <class Acc>
Status backward(const Context& ctx, const RmsNormBackwardArgs& a) {
  const Rows<Acc> dy(a.dy), x(a.x), dx(a.dx);
  const int64_t width = x.width();
  const Scratch<Acc> scratch(ctx, 4 * width);
  const RowChunks chunks(1, a.x.rows(), width);
  Acc* shares = a.dweight ? ctx.workspace<Acc>((chunks.count() + 1) * width) : nullptr;
  if (!scratch.ok() || (a.dweight && shares == nullptr)) return Status::no_memory();
  ctx.parallel_for(chunks.count(), [&](int64_t c) {
    const typename Scratch<Acc>::Lease lease(scratch);
    Acc *in = lease.data(), *grad = in + width, *out = grad + width, *weight = out + width;
    const Acc* w = a.weight ? row_in(a.weight.dtype, a.weight.data, width, weight) : nullptr;
    Acc* share = shares != nullptr ? shares + c * width : nullptr;
    if (share != nullptr)
      for (int64_t i = 0; i < width; ++i) share[i] = 0;
    for (int64_t row = chunks.begin(c); row < chunks.end(c); ++row) {
      const Acc *v = x.load(row, in), *g = dy.load(row, grad);
      Acc* o = dx.open(row, out);
      const Acc r = inverse_rms(v, width, a.eps);
      const auto weighted = [=](int64_t i) { return g[i] * (w != nullptr ? w[i] : Acc(1)); };
      const Acc mean = sum_of<Acc>(width, [=](int64_t i) { return weighted(i) * v[i]; }) / Acc(width);
      const Acc pull = r * r * mean;
      if (share != nullptr)
        for (int64_t i = 0; i < width; ++i) share[i] += g[i] * v[i] * r;
      for (int64_t i = 0; i < width; ++i) o[i] = r * (weighted(i) - v[i] * pull);
      dx.finish(row, o);
    }
  });
  if (shares != nullptr) store_share_sums(ctx, shares, width, chunks, a.dweight);
  return {};
}

}  // namespace

Status rms_norm(const Context& ctx, const RmsNormArgs& a) {
  return with_float_acc(a.x.dtype, [&](auto acc) { return forward<decltype(acc)>(ctx, a); });
}

Status rms_norm_backward(const Context& ctx, const RmsNormBackwardArgs& a) {
  return with_float_acc(a.x.dtype, [&](auto acc) { return backward<decltype(acc)>(ctx, a); });
}

}  // namespace hn::cpu::HN_ISA
