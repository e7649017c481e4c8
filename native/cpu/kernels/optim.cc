// Updates of many tensors in place, each as one pass over memory.
//   adamw_step      g = grad · scale;  p -= lr · decay · p;  m += (1 - β1)(g - m);  v = β2 v + (1 - β2) g²
//                   p -= lr / (1 - β1^t) · m / (sqrt(v / (1 - β2^t)) + eps)
//   ema_step        t += (1 - decay)(s - t)
//   scale_in_place  t *= factor
//   global_norm     y = sqrt(Σ x²), summed in f64: chunks in a fixed order
// Bound by memory. Lists are walked as one row of chunks, so that a thousand small tensors cost one parallel loop.
#include "core/generated/optim.h"
#include "cpu/context.h"
#include "cpu/kernels/convert.h"
#include "cpu/kernels/dispatch.h"
#include "cpu/kernels/rows.h"

namespace hn::cpu::HN_ISA {
namespace {

constexpr int64_t kPart = 512;  // elements widened at a time, on the stack

/// Where each tensor's chunks begin in the row of all chunks.
class Chunks {
 public:
  Chunks(const Context& ctx, const TensorList& tensors)
      : count_(tensors.count), first_(ctx.workspace<int64_t>(tensors.count + 1)) {
    if (first_ == nullptr) return;
    first_[0] = 0;
    for (int32_t i = 0; i < count_; ++i) first_[i + 1] = first_[i] + ceil_div(tensors[i].elements(), kChunkElements);
  }
  bool ok() const { return first_ != nullptr; }
  int64_t total() const { return first_[count_]; }

  /// The last tensor whose chunks begin at or before this one (those without elements have none).
  int32_t tensor_of(int64_t chunk) const {
    int32_t low = 0, high = count_ - 1;
    while (low < high) {
      const int32_t middle = (low + high + 1) / 2;
      if (first_[middle] <= chunk) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return low;
  }
  int64_t first(int32_t tensor) const { return first_[tensor]; }

 private:
  int32_t count_;
  int64_t* first_;
};

/// `fn(tensor, from, n, chunk)` for runs of at most kPart elements of every tensor.
template <class Fn>
Status each_part(const Context& ctx, const TensorList& tensors, Fn&& fn) {
  const Chunks chunks(ctx, tensors);
  if (!chunks.ok()) return Status::no_memory();
  ctx.parallel_for(chunks.total(), [&](int64_t chunk) {
    const int32_t t = chunks.tensor_of(chunk);
    const int64_t begin = (chunk - chunks.first(t)) * kChunkElements, size = tensors[t].elements();
    const int64_t end = begin + kChunkElements < size ? begin + kChunkElements : size;
    for (int64_t i = begin; i < end; i += kPart) fn(t, i, end - i < kPart ? end - i : kPart, chunk);
  });
  return {};
}

/// A run of a dense tensor as Acc: in place where the type allows, else widened into memory of its own.
template <class Acc>
class Run {
 public:
  Run(const TensorView& t, int64_t from, int64_t n) : type_(t.dtype), at_(t.at(from)), n_(n) {
    if (type_ == kAccType<Acc>) {
      values_ = static_cast<Acc*>(at_);
    } else {
      load_row<Acc>(type_)(at_, 1, n, wide_);
      values_ = wide_;
    }
  }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;
  Acc* data() const { return values_; }
  void store() const {
    if (values_ == wide_) store_row<Acc>(type_)(at_, 1, n_, wide_);
  }

 private:
  DType type_;
  void* at_;
  int64_t n_;
  Acc* values_;
  Acc wide_[kPart];
};

double scalar_of(const TensorView& t) {
  if (!t) return 1;
  return t.dtype == DType::f64 ? *t.as<const double>() : *t.as<const float>();
}

/// Everything that is the same for all elements, computed in f64.
struct AdamW {
  double grad_scale, keep, one_minus_beta1, beta2, one_minus_beta2, step_size, inverse_root, eps;

  explicit AdamW(const AdamwStepArgs& a) {
    const auto t = static_cast<double>(a.step);
    grad_scale = scalar_of(a.grad_scale);
    keep = 1 - a.lr * a.weight_decay;
    one_minus_beta1 = 1 - a.beta1;
    beta2 = a.beta2;
    one_minus_beta2 = 1 - a.beta2;
    step_size = a.lr / (1 - __builtin_pow(a.beta1, t));
    inverse_root = 1 / __builtin_sqrt(1 - __builtin_pow(a.beta2, t));
    eps = a.eps;
  }
};

template <class Acc>
void adamw_run(const AdamW& c, int64_t n, const Acc* __restrict g, Acc* __restrict p, Acc* __restrict m,
               Acc* __restrict v) {
  const Acc grad_scale = Acc(c.grad_scale), keep = Acc(c.keep), rest1 = Acc(c.one_minus_beta1), beta2 = Acc(c.beta2);
  const Acc rest2 = Acc(c.one_minus_beta2), step_size = Acc(c.step_size), inverse_root = Acc(c.inverse_root),
            eps = Acc(c.eps);
  for (int64_t i = 0; i < n; ++i) {
    const Acc grad = g[i] * grad_scale;
    m[i] += rest1 * (grad - m[i]);
    v[i] = beta2 * v[i] + rest2 * grad * grad;
    p[i] = p[i] * keep - step_size * m[i] / (__builtin_sqrt(v[i]) * inverse_root + eps);
  }
}

template <class Acc>
void adamw_part(const AdamwStepArgs& a, const AdamW& constants, int32_t t, int64_t from, int64_t n) {
  const int64_t master = a.master_of[t];
  const Run<Acc> g(a.grads[t], from, n), m(a.m[t], from, n), v(a.v[t], from, n);
  const Run<Acc> p(master >= 0 ? a.masters[master] : a.params[t], from, n);
  adamw_run<Acc>(constants, n, g.data(), p.data(), m.data(), v.data());
  m.store();
  v.store();
  p.store();
  if (master >= 0) store_row<Acc>(a.params[t].dtype)(a.params[t].at(from), 1, n, p.data());
}

template <class Acc>
void ema_part(const EmaStepArgs& a, int32_t tensor, int64_t from, int64_t n) {
  const Run<Acc> target(a.targets[tensor], from, n), source(a.sources[tensor], from, n);
  Acc* t = target.data();
  const Acc* s = source.data();
  const Acc rest = Acc(1 - a.decay);
  for (int64_t i = 0; i < n; ++i) t[i] += rest * (s[i] - t[i]);
  target.store();
}

template <class Acc>
void scale_part(const TensorView& tensor, double factor, int64_t from, int64_t n) {
  const Run<Acc> run(tensor, from, n);
  Acc* t = run.data();
  for (int64_t i = 0; i < n; ++i) t[i] *= Acc(factor);
  run.store();
}

}  // namespace

Status adamw_step(const Context& ctx, const AdamwStepArgs& a) {
  const AdamW constants(a);
  return each_part(ctx, a.params, [&](int32_t t, int64_t from, int64_t n, int64_t) {
    if (a.params[t].dtype == DType::f64) return adamw_part<double>(a, constants, t, from, n);
    adamw_part<float>(a, constants, t, from, n);
  });
}

Status ema_step(const Context& ctx, const EmaStepArgs& a) {
  return each_part(ctx, a.targets, [&](int32_t t, int64_t from, int64_t n, int64_t) {
    if (a.targets[t].dtype == DType::f64) return ema_part<double>(a, t, from, n);
    ema_part<float>(a, t, from, n);
  });
}

Status scale_in_place(const Context& ctx, const ScaleInPlaceArgs& a) {
  const double factor = a.factor * scalar_of(a.scale);
  return each_part(ctx, a.tensors, [&](int32_t t, int64_t from, int64_t n, int64_t) {
    if (a.tensors[t].dtype == DType::f64) return scale_part<double>(a.tensors[t], factor, from, n);
    scale_part<float>(a.tensors[t], factor, from, n);
  });
}

Status global_norm(const Context& ctx, const GlobalNormArgs& a) {
  const Chunks chunks(ctx, a.tensors);
  if (!chunks.ok()) return Status::no_memory();
  double* shares = ctx.workspace<double>(chunks.total() > 0 ? chunks.total() : 1);
  if (shares == nullptr) return Status::no_memory();
  for (int64_t c = 0; c < chunks.total(); ++c) shares[c] = 0;
  HN_RETURN_IF_ERROR(each_part(ctx, a.tensors, [&](int32_t t, int64_t from, int64_t n, int64_t chunk) {
    const Run<double> run(a.tensors[t], from, n);
    const double* x = run.data();
    shares[chunk] += sum_of<double>(n, [=](int64_t i) { return x[i] * x[i]; });
  }));
  double sum = 0;
  for (int64_t c = 0; c < chunks.total(); ++c) sum += shares[c];
  const double norm = __builtin_sqrt(sum);
  store_row<double>(a.y.dtype)(a.y.data, 1, 1, &norm);
  return {};
}

}  // namespace hn::cpu::HN_ISA
