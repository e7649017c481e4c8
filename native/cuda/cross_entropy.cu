// Cross entropy of logits [N, C] against class numbers [N], and its gradient.
//   lse = m + log Σ exp(x − m), m = max x;   y = mean of lse − x[label] over the rows that count
//   dx = (exp(x − lse) − [c = label]) · dy / rows that count; 0 in rows left out (label = ignore_index)
// The mean of no rows is NaN. A label that is no class is refused; the loss is NaN then, and the gradient of its row.
//
// logits, dlogits of any strides, f32, bf16 or f16; labels i32 or i64; y and lse in f32. Sums over a row are f32, over
// rows double, in an order that the shape fixes. Bytes: size(logits) forward, 2 backward. FLOPs: 4 an element. Bound by
// memory: forward a row is read once, the sum brought down whenever a larger maximum is met (exp_sum.cuh).
#include "core/generated/loss.h"
#include "cuda/device/any_ptr.cuh"
#include "cuda/device/exp_sum.cuh"
#include "cuda/device/refuse.cuh"
#include "cuda/device/rows.cuh"
#include "cuda/support.h"

namespace hn::cuda {
namespace {

/// The class number of each row.
struct Labels {
  AnyIndex of;
  int64_t step, ignore, classes;

  Labels(const TensorView& labels, int64_t ignore_index, int64_t count)
      : of(labels), step(labels.stride(0)), ignore(ignore_index), classes(count) {}

  HN_DEVICE int64_t at(int64_t row) const { return of.load(row * step); }
  HN_DEVICE bool valid(int64_t label) const { return label >= 0 && label < classes; }
};

/// lse of each row, and its loss in f32, to be added up.
template <class T, int kPackSize, class D>
__global__ void __launch_bounds__(D::kBlockThreads)
    rows_kernel(Rows<T> logits, Labels labels, float* lse, float* losses, int64_t rows, FaultWord fault) {
  const RowPlace<D, kPackSize> at;
  if (at.row >= rows) return;
  const T* const row = logits.row(at.row);
  ExpSum all;
  at.each(labels.classes, [&](int, int64_t i) {
    float v[kPackSize];
    logits.load(row, i, v);
    all.add(v);
  });
  all = all.template of_row<D>();
  if (at.first != 0) return;
  const float log_sum = logf(all.sum);
  lse[at.row] = all.top + log_sum;
  const int64_t label = labels.at(at.row);
  if (label == labels.ignore) {
    losses[at.row] = 0;
  } else if (labels.valid(label)) {
    float picked[1];
    logits.load(row, label, picked);
    losses[at.row] = log_sum - (picked[0] - all.top);
  } else {
    losses[at.row] = NAN;
    refuse(fault, DataError::label);
  }
}

constexpr int kSumThreads = 512;

/// How many rows count; every thread of the one block gets it.
HN_DEVICE double count_rows(const Labels& labels, int64_t rows) {
  double count = 0;
  for (int64_t row = threadIdx.x; row < rows; row += kSumThreads) count += labels.at(row) != labels.ignore;
  return block_sum<kSumThreads>(count);
}

__global__ void __launch_bounds__(kSumThreads) mean_kernel(const float* losses, Labels labels, int64_t rows, AnyOut y) {
  double sum = 0;
  for (int64_t row = threadIdx.x; row < rows; row += kSumThreads) sum += losses[row];
  sum = block_sum<kSumThreads>(sum);
  const double count = count_rows(labels, rows);
  if (threadIdx.x == 0) y.store(0, static_cast<float>(sum / count));
}

/// scale = dy / rows that count.
__global__ void __launch_bounds__(kSumThreads) scale_kernel(AnyPtr dy, Labels labels, int64_t rows, float* scale) {
  const double count = count_rows(labels, rows);
  if (threadIdx.x == 0) *scale = static_cast<float>(dy.load(0) / count);
}

constexpr int kThreads = 256;

/// A thread takes one pack of one row.
template <class T, int kPackSize>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(Rows<T> logits, Labels labels, AnyPtr lse, int64_t lse_step, const float* scale, Rows<T> dlogits,
                    Divider row_packs, int64_t threads, FaultWord fault) {
  int64_t row = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (row >= threads) return;
  const int64_t i = row_packs.split(row) * kPackSize, label = labels.at(row);
  float v[kPackSize] = {};
  if (label != labels.ignore) {
    const float factor = labels.valid(label) ? *scale : NAN, down = lse.load(row * lse_step);
    if (!labels.valid(label)) refuse(fault, DataError::label);
    logits.load(logits.row(row), i, v);
#pragma unroll
    for (int k = 0; k < kPackSize; ++k) v[k] = factor * exp_of(v[k] - down) - (i + k == label ? factor : 0.0f);
  }
  dlogits.store(dlogits.row(row), i, v);
}

}  // namespace

// --- launchers -----------------------------------------------------------------------------------------------------

HN_SUPPORTS(cross_entropy, kFloats);
HN_SUPPORTS(cross_entropy_backward, kFloats);

Status cross_entropy(const Context& ctx, const CrossEntropyArgs& a) {
  if (a.lse.dtype != DType::f32) return Status::missing("cross_entropy: sums are f32");
  const int64_t rows = a.logits.rows(), classes = a.logits.dim(-1);
  const Labels labels(a.labels, a.ignore_index, classes);
  float* const losses = ctx.workspace<float>(rows);
  if (losses == nullptr) return Status::no_memory();
  HN_RETURN_IF_ERROR(with_storage(a.logits.dtype, [&](auto storage) {
    using T = decltype(storage);
    const auto launch = [&](auto pack, auto deal) {
      using D = decltype(deal);
      return HN_LAUNCH((rows_kernel<T, pack(), D>), ceil_div(rows, D::kBlockRows), D::kBlockThreads, 0, ctx,
                       Rows<T>(a.logits), labels, a.lse.as<float>(), losses, rows, ctx.fault());
    };
    const auto choose = [&](auto pack) {
      return classes <= 1024 ? launch(pack, RowDeal<32, 0>{}) : launch(pack, RowDeal<256, 0>{});
    };
    if (packs(a.logits)) return choose(std::integral_constant<int, kPack<T>>{});
    return choose(std::integral_constant<int, 1>{});
  }));
  return HN_LAUNCH((mean_kernel), 1, kSumThreads, 0, ctx, losses, labels, rows, AnyOut(a.y));
}

Status cross_entropy_backward(const Context& ctx, const CrossEntropyBackwardArgs& a) {
  const int64_t rows = a.logits.rows(), classes = a.logits.dim(-1);
  const Labels labels(a.labels, a.ignore_index, classes);
  float* const scale = ctx.workspace<float>(1);
  if (scale == nullptr) return Status::no_memory();
  HN_RETURN_IF_ERROR(HN_LAUNCH((scale_kernel), 1, kSumThreads, 0, ctx, AnyPtr(a.dy), labels, rows, scale));
  return with_storage(a.logits.dtype, [&](auto storage) {
    using T = decltype(storage);
    const auto launch = [&](auto pack) {
      const int64_t row_packs = classes / pack(), threads = rows * row_packs;
      return HN_LAUNCH((backward_kernel<T, pack()>), ceil_div(threads, kThreads), kThreads, 0, ctx, Rows<T>(a.logits),
                       labels, AnyPtr(a.lse), a.lse.stride(0), scale, Rows<T>(a.dlogits), Divider(row_packs), threads,
                       ctx.fault());
    };
    if (packs(a.logits) && packs(a.dlogits)) return launch(std::integral_constant<int, kPack<T>>{});
    return launch(std::integral_constant<int, 1>{});
  });
}

}  // namespace hn::cuda
