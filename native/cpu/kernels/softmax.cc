// Softmax and its logarithm over the last axis, and cross entropy on top of them.
//   m = max x,  s = Σ exp(x − m);   y = exp(x − m) / s, or x − m − log s
//   dx = y (dy − Σ dy y), or dy − exp(y) Σ dy
//   cross entropy: mean over rows of lse − x[label], lse = m + log s, rows with the label `ignore_index` left out;
//   dx = (exp(x − lse) − [c = label]) · dy / rows counted
// A row of −inf only, or with +inf or NaN in it, gives NaN. Bound by the exp for rows that fit the second-level cache.
#include "core/data_error.h"
#include "core/generated/loss.h"
#include "cpu/kernels/dispatch.h"
#include "cpu/kernels/rows.h"
#include "cpu/kernels/scratch.h"
#include "cpu/kernels/simd.h"

namespace hn::cpu::HN_ISA {
namespace {

inline float log_of(float x) { return __builtin_logf(x); }
inline double log_of(double x) { return __builtin_log(x); }

template <class Acc>
Acc largest(const Acc* x, int64_t n) {
  constexpr int kChains = 16;
  Acc chain[kChains];
  for (int c = 0; c < kChains; ++c) chain[c] = -static_cast<Acc>(__builtin_inf());
  int64_t i = 0;
  // NaN is passed over here and comes back in the sum.
  for (; i + kChains <= n; i += kChains)
    for (int c = 0; c < kChains; ++c) chain[c] = x[i + c] > chain[c] ? x[i + c] : chain[c];
  for (; i < n; ++i) chain[0] = x[i] > chain[0] ? x[i] : chain[0];
  for (int c = 1; c < kChains; ++c) chain[0] = chain[c] > chain[0] ? chain[c] : chain[0];
  return chain[0];
}

/// e[i] = exp(x[i] − m); answers their sum, added up in double.
template <class Acc>
double exponentials(const Acc* x, int64_t n, Acc m, Acc* e) {
  for (int64_t i = 0; i < n; ++i) e[i] = exp1(x[i] - m);
  return sum_of<double>(n, [=](int64_t i) { return static_cast<double>(e[i]); });
}

/// Calls body(row, in, other, out) for each row, three blocks of a row's width at its disposal.
template <class Acc, class Body>
Status each_row(const Context& ctx, int64_t rows, int64_t width, const Body& body) {
  const Scratch<Acc> scratch(ctx, 3 * width);
  if (!scratch.ok()) return Status::no_memory();
  const int64_t chunk = rows_per_chunk(width);
  ctx.parallel_for(ceil_div(rows, chunk), [&](int64_t c) {
    const typename Scratch<Acc>::Lease lease(scratch);
    Acc* const blocks = lease.data();
    for (int64_t row = c * chunk; row < rows && row < (c + 1) * chunk; ++row)
      body(row, blocks, blocks + width, blocks + 2 * width);
  });
  return {};
}

template <class Acc>
Status forward(const Context& ctx, const SoftmaxArgs& a) {
  const Rows<Acc> x(a.x), y(a.y);
  const int64_t width = x.width();
  return each_row<Acc>(ctx, a.x.rows(), width, [&](int64_t row, Acc* in, Acc* powers, Acc* out) {
    const Acc* v = x.load(row, in);
    Acc* o = y.open(row, out);
    const Acc m = largest(v, width);
    if (a.log) {
      const Acc log_sum = static_cast<Acc>(log_of(exponentials(v, width, m, powers)));
      for (int64_t i = 0; i < width; ++i) o[i] = v[i] - m - log_sum;
    } else {
      const Acc scale = static_cast<Acc>(1 / exponentials(v, width, m, o));
      for (int64_t i = 0; i < width; ++i) o[i] *= scale;
    }
    y.finish(row, o);
  });
}

template <class Acc>
Status backward(const Context& ctx, const SoftmaxBackwardArgs& a) {
  const Rows<Acc> dy(a.dy), y(a.y), dx(a.dx);
  const int64_t width = y.width();
  return each_row<Acc>(ctx, a.y.rows(), width, [&](int64_t row, Acc* grad, Acc* values, Acc* out) {
    const Acc *g = dy.load(row, grad), *v = y.load(row, values);
    Acc* o = dx.open(row, out);
    if (a.log) {
      const Acc sum = static_cast<Acc>(sum_of<double>(width, [=](int64_t i) { return static_cast<double>(g[i]); }));
      for (int64_t i = 0; i < width; ++i) o[i] = g[i] - exp1(v[i]) * sum;
    } else {
      const auto product = [=](int64_t i) { return static_cast<double>(g[i]) * static_cast<double>(v[i]); };
      const Acc sum = static_cast<Acc>(sum_of<double>(width, product));
      for (int64_t i = 0; i < width; ++i) o[i] = v[i] * (g[i] - sum);
    }
    dx.finish(row, o);
  });
}

/// The labels as int64, and how many of them count.
struct Labels {
  const int64_t* of = nullptr;
  int64_t counted = 0;
};

Status read_labels(const Context& ctx, const TensorView& labels, int64_t classes, int64_t ignore, Labels* out) {
  const int64_t rows = labels.dim(0);
  int64_t* values = ctx.workspace<int64_t>(rows + 1);
  if (values == nullptr) return Status::no_memory();
  load_row<int64_t>(labels.dtype)(labels.data, labels.stride(0), rows, values);
  for (int64_t i = 0; i < rows; ++i) {
    if (values[i] == ignore) continue;
    if (values[i] < 0 || values[i] >= classes) return status_of(DataError::label);
    ++out->counted;
  }
  out->of = values;
  return {};
}

template <class Acc>
Status loss(const Context& ctx, const CrossEntropyArgs& a) {
  const Rows<Acc> x(a.logits);
  const int64_t width = x.width(), rows = a.logits.rows();
  Labels labels;
  HN_RETURN_IF_ERROR(read_labels(ctx, a.labels, width, a.ignore_index, &labels));
  double* losses = ctx.workspace<double>(rows + 1);
  if (losses == nullptr) return Status::no_memory();
  const StoreRow<double> store_lse = store_row<double>(a.lse.dtype);
  HN_RETURN_IF_ERROR((each_row<Acc>(ctx, rows, width, [&](int64_t row, Acc* in, Acc* powers, Acc*) {
    const Acc* v = x.load(row, in);
    const Acc m = largest(v, width);
    const double log_sum = log_of(exponentials(v, width, m, powers)), lse = static_cast<double>(m) + log_sum;
    store_lse(a.lse.at(row * a.lse.stride(0)), 1, 1, &lse);
    const int64_t label = labels.of[row];
    losses[row] = label == a.ignore_index ? 0 : log_sum - (static_cast<double>(v[label]) - static_cast<double>(m));
  })));
  const double mean = sum_of<double>(rows, [=](int64_t i) { return losses[i]; }) / static_cast<double>(labels.counted);
  store_row<double>(a.y.dtype)(a.y.data, 1, 1, &mean);
  return {};
}

template <class Acc>
Status loss_backward(const Context& ctx, const CrossEntropyBackwardArgs& a) {
  const Rows<Acc> x(a.logits), dx(a.dlogits);
  const int64_t width = x.width();
  Labels labels;
  HN_RETURN_IF_ERROR(read_labels(ctx, a.labels, width, a.ignore_index, &labels));
  Acc dy = 0;
  load_row<Acc>(a.dy.dtype)(a.dy.data, 1, 1, &dy);
  const Acc scale = dy / static_cast<Acc>(labels.counted);
  const LoadRow<Acc> load_lse = load_row<Acc>(a.lse.dtype);
  return each_row<Acc>(ctx, a.logits.rows(), width, [&](int64_t row, Acc* in, Acc*, Acc* out) {
    Acc* o = dx.open(row, out);
    const int64_t label = labels.of[row];
    if (label == a.ignore_index) {
      for (int64_t i = 0; i < width; ++i) o[i] = 0;
      return dx.finish(row, o);
    }
    const Acc* v = x.load(row, in);
    Acc lse = 0;
    load_lse(a.lse.at(row * a.lse.stride(0)), 1, 1, &lse);
    for (int64_t i = 0; i < width; ++i) o[i] = scale * exp1(v[i] - lse);
    o[label] -= scale;
    dx.finish(row, o);
  });
}

}  // namespace

Status softmax(const Context& ctx, const SoftmaxArgs& a) {
  return with_float_acc(a.x.dtype, [&](auto acc) { return forward<decltype(acc)>(ctx, a); });
}

Status softmax_backward(const Context& ctx, const SoftmaxBackwardArgs& a) {
  return with_float_acc(a.y.dtype, [&](auto acc) { return backward<decltype(acc)>(ctx, a); });
}

Status cross_entropy(const Context& ctx, const CrossEntropyArgs& a) {
  return with_float_acc(a.logits.dtype, [&](auto acc) { return loss<decltype(acc)>(ctx, a); });
}

Status cross_entropy_backward(const Context& ctx, const CrossEntropyBackwardArgs& a) {
  return with_float_acc(a.logits.dtype, [&](auto acc) { return loss_backward<decltype(acc)>(ctx, a); });
}

}  // namespace hn::cpu::HN_ISA
