// Updates of many tensors in place, each as one pass over memory.
//   adamw_step      g = grad · scale;  m += (1 − β1)(g − m);  v = β2 v + (1 − β2) g²
//                   p = p (1 − lr · decay) − lr / (1 − β1^t) · m / (√v / √(1 − β2^t) + eps)
//   ema_step        t += (1 − decay)(s − t)
//   scale_in_place  t *= factor · scale
//   global_norm     y = √Σ x², summed in f64
//
// Lists of dense tensors, each of a float type of its own; what is computed in f32 is rounded to the storage type once.
// Where a parameter has a master in f32, the step is made on that and the parameter becomes its rounded value. f64 is
// left to the CPU, but for global_norm. Scalars that come as tensors stay on the device.
//
// Bytes an element: adamw 28 in f32, 30 in bf16 with gradients and masters in f32; ema 12, scale 8, norm 4 in f32.
// FLOPs: adamw 15. Bound by memory: the 13e9 parameters of the model, in bf16 with masters, move 390 GB a step.
// One launch takes tens of tensors (tensor_batch.cuh): a thousand small ones cost sixteen launches.
#include <cmath>

#include "core/generated/optim.h"
#include "cuda/device/reduce.cuh"
#include "cuda/device/tensor_batch.cuh"
#include "cuda/support.h"

namespace hn::cuda {
namespace {

constexpr int64_t kPart = 4 * kBatchThreads * kBatchPack;
/// A block of global_norm leaves one number, which should be few.
constexpr int64_t kNormPart = 4 * kPart;
constexpr int kTotalThreads = 1024;

/// One number on the device, or 1 where none was given.
HN_DEVICE double number_of(const AnyPtr& p) {
  if (!p) return 1;
  return p.dtype == DType::f64 ? *static_cast<const double*>(p.data) : static_cast<double>(p.load(0));
}

enum AdamWOperand { kParam, kGrad, kFirst, kSecond, kMaster, kAdamWOperands };

/// What is the same for all elements: computed in f64, used in f32.
struct AdamW {
  float keep, rest1, beta2, rest2, step_size, inverse_root, eps;
  AnyPtr grad_scale;

  explicit AdamW(const AdamwStepArgs& a) : grad_scale(a.grad_scale) {
    const auto t = static_cast<double>(a.step);
    keep = static_cast<float>(1 - a.lr * a.weight_decay);
    rest1 = static_cast<float>(1 - a.beta1);
    beta2 = static_cast<float>(a.beta2);
    rest2 = static_cast<float>(1 - a.beta2);
    step_size = static_cast<float>(a.lr / (1 - std::pow(a.beta1, t)));
    inverse_root = static_cast<float>(1 / std::sqrt(1 - std::pow(a.beta2, t)));
    eps = static_cast<float>(a.eps);
  }
};

__global__ void __launch_bounds__(kBatchThreads, 1)
    adamw_kernel(const __grid_constant__ TensorBatch<kAdamWOperands> batch, AdamW c) {
  const auto part = batch.part<kPart>();
  const int t = part.tensor;
  const bool packs = batch.packs[t], has_master = batch.data[kMaster][t] != nullptr;
  const int stepped = has_master ? kMaster : kParam;
  const float grad_scale = static_cast<float>(number_of(c.grad_scale));
  each_pack(part, [&](int64_t i, int count) {
    float p[kBatchPack], g[kBatchPack], m[kBatchPack], v[kBatchPack];
    load_batch(batch.in(stepped, t), i, count, packs, p);
    load_batch(batch.in(kGrad, t), i, count, packs, g);
    load_batch(batch.in(kFirst, t), i, count, packs, m);
    load_batch(batch.in(kSecond, t), i, count, packs, v);
#pragma unroll
    for (int k = 0; k < kBatchPack; ++k) {
      const float grad = g[k] * grad_scale;
      m[k] += c.rest1 * (grad - m[k]);
      v[k] = c.beta2 * v[k] + c.rest2 * grad * grad;
      p[k] = p[k] * c.keep - c.step_size * m[k] / (sqrtf(v[k]) * c.inverse_root + c.eps);
    }
    store_batch(batch.out(kFirst, t), i, count, packs, m);
    store_batch(batch.out(kSecond, t), i, count, packs, v);
    store_batch(batch.out(kParam, t), i, count, packs, p);
    if (has_master) store_batch(batch.out(kMaster, t), i, count, packs, p);
  });
}

/// Operands: targets, sources.
__global__ void __launch_bounds__(kBatchThreads, 1)
    ema_kernel(const __grid_constant__ TensorBatch<2> batch, float rest) {
  const auto part = batch.part<kPart>();
  const bool packs = batch.packs[part.tensor];
  each_pack(part, [&](int64_t i, int count) {
    float t[kBatchPack], s[kBatchPack];
    load_batch(batch.in(0, part.tensor), i, count, packs, t);
    load_batch(batch.in(1, part.tensor), i, count, packs, s);
#pragma unroll
    for (int k = 0; k < kBatchPack; ++k) t[k] += rest * (s[k] - t[k]);
    store_batch(batch.out(0, part.tensor), i, count, packs, t);
  });
}

__global__ void __launch_bounds__(kBatchThreads, 1)
    scale_kernel(const __grid_constant__ TensorBatch<1> batch, AnyPtr scale, double factor) {
  const auto part = batch.part<kPart>();
  const bool packs = batch.packs[part.tensor];
  const float by = static_cast<float>(factor * number_of(scale));
  each_pack(part, [&](int64_t i, int count) {
    float t[kBatchPack];
    load_batch(batch.in(0, part.tensor), i, count, packs, t);
#pragma unroll
    for (int k = 0; k < kBatchPack; ++k) t[k] *= by;
    store_batch(batch.out(0, part.tensor), i, count, packs, t);
  });
}

/// Σ x² over [begin, end), this thread's share. Squares of f32 would not fit f32.
template <class T>
HN_DEVICE double squares(const T* x, int64_t begin, int64_t end, bool packs) {
  constexpr int kCount = kPack<T>;
  const int64_t whole = packs ? begin + (end - begin) / kCount * kCount : begin;
  double sum = 0;
#pragma unroll 4
  for (int64_t i = begin + static_cast<int>(threadIdx.x) * kCount; i < whole; i += kBatchThreads * kCount) {
    compute_t<T> v[kCount];
    load_pack<kCount>(x + i, v);
#pragma unroll
    for (int k = 0; k < kCount; ++k) sum += static_cast<double>(v[k]) * static_cast<double>(v[k]);
  }
  for (int64_t i = whole + static_cast<int>(threadIdx.x); i < end; i += kBatchThreads) {
    const auto v = static_cast<double>(widen(x[i]));
    sum += v * v;
  }
  return sum;
}

__global__ void __launch_bounds__(kBatchThreads, 1)
    squares_kernel(const __grid_constant__ TensorBatch<1> batch, double* shares) {
  const auto part = batch.part<kNormPart>();
  const bool packs = batch.packs[part.tensor];
  double sum = 0;
  with_any_float(batch.type(0, part.tensor), [&](auto storage) {
    using T = decltype(storage);
    sum = squares(static_cast<const T*>(batch.data[0][part.tensor]), part.begin, part.end, packs);
  });
  sum = block_sum<kBatchThreads>(sum);
  if (threadIdx.x == 0) shares[blockIdx.x] = sum;
}

/// One block. Four chains hide the latency of the loads.
__global__ void __launch_bounds__(kTotalThreads, 1) norm_kernel(const double* shares, int64_t count, AnyOut y) {
  double chain[4] = {};
  int64_t i = static_cast<int>(threadIdx.x);
  for (; i + 3 * kTotalThreads < count; i += 4 * kTotalThreads) {
#pragma unroll
    for (int c = 0; c < 4; ++c) chain[c] += shares[i + c * kTotalThreads];
  }
  for (; i < count; i += kTotalThreads) chain[0] += shares[i];
  const double norm = sqrt(block_sum<kTotalThreads>((chain[0] + chain[1]) + (chain[2] + chain[3])));
  if (threadIdx.x > 0) return;
  if (y.dtype == DType::f64) {
    *static_cast<double*>(y.data) = norm;
  } else {
    *static_cast<float*>(y.data) = static_cast<float>(norm);
  }
}

bool has_f64(const TensorList& list) {
  for (const TensorView& t : list) {
    if (t.dtype == DType::f64) return true;
  }
  return false;
}

}  // namespace

// --- launchers ------------------------------------------------------------------------------------------------------

HN_SUPPORTS(adamw_step, kFloats);
HN_SUPPORTS(ema_step, kFloats);
HN_SUPPORTS(global_norm, kFloats | kFloat64);
HN_SUPPORTS(scale_in_place, kFloats);

Status adamw_step(const Context& ctx, const AdamwStepArgs& a) {
  if (has_f64(a.params)) return Status::missing("adamw_step: a parameter is f64");
  const TensorView none;
  const AdamW constants(a);
  const auto view = [&](int operand, int64_t i) -> const TensorView& {
    switch (operand) {
      case kParam:
        return a.params[i];
      case kGrad:
        return a.grads[i];
      case kFirst:
        return a.m[i];
      case kSecond:
        return a.v[i];
      default:
        return a.master_of[static_cast<int32_t>(i)] >= 0 ? a.masters[a.master_of[static_cast<int32_t>(i)]] : none;
    }
  };
  return each_batch<kAdamWOperands>(a.params.count, kPart, view, [&](const auto& batch, int64_t parts, int64_t) {
    return HN_LAUNCH((adamw_kernel), parts, kBatchThreads, 0, ctx, batch, constants);
  });
}

Status ema_step(const Context& ctx, const EmaStepArgs& a) {
  if (has_f64(a.targets)) return Status::missing("ema_step: a target is f64");
  const auto view = [&](int operand, int64_t i) -> const TensorView& {
    return operand == 0 ? a.targets[i] : a.sources[i];
  };
  return each_batch<2>(a.targets.count, kPart, view, [&](const auto& batch, int64_t parts, int64_t) {
    return HN_LAUNCH((ema_kernel), parts, kBatchThreads, 0, ctx, batch, static_cast<float>(1 - a.decay));
  });
}

Status scale_in_place(const Context& ctx, const ScaleInPlaceArgs& a) {
  if (has_f64(a.tensors)) return Status::missing("scale_in_place: a tensor is f64");
  const auto view = [&](int, int64_t i) -> const TensorView& { return a.tensors[i]; };
  return each_batch<1>(a.tensors.count, kPart, view, [&](const auto& batch, int64_t parts, int64_t) {
    return HN_LAUNCH((scale_kernel), parts, kBatchThreads, 0, ctx, batch, AnyPtr(a.scale), a.factor);
  });
}

Status global_norm(const Context& ctx, const GlobalNormArgs& a) {
  int64_t total = 0;
  for (const TensorView& t : a.tensors) total += ceil_div(t.elements(), kNormPart);
  double* const shares = ctx.workspace<double>(total);
  if (shares == nullptr) return Status::no_memory();
  const auto view = [&](int, int64_t i) -> const TensorView& { return a.tensors[i]; };
  HN_RETURN_IF_ERROR(
      each_batch<1>(a.tensors.count, kNormPart, view, [&](const auto& batch, int64_t parts, int64_t before) {
        return HN_LAUNCH((squares_kernel), parts, kBatchThreads, 0, ctx, batch, shares + before);
      }));
  return HN_LAUNCH((norm_kernel), 1, kTotalThreads, 0, ctx, shares, total, AnyOut(a.y));
}

}  // namespace hn::cuda
