// Mean squared and mean absolute difference of two tensors, and their gradient for the first.
//   y = Σ (a − b)² / n,   da = dy · 2 (a − b) / n
//   y = Σ |a − b| / n,    da = dy · sign(a − b) / n
// The mean of nothing is NaN, and so is a distance with a NaN in it.
//
// a, b, da of one shape and any strides, f32, bf16 or f16; y, one number, in f32; dy of any float type, walked as if it
// had a's shape. Sums are f32 in a thread and block, over blocks double, cut by the shape alone. Dense tensors are read
// in packs of 16 bytes. Bytes: 2 · size(a) forward, 3 backward. FLOPs: 3 and 4 an element. Bound by memory.
#include "core/generated/loss.h"
#include "cuda/device/any_ptr.cuh"
#include "cuda/device/index.cuh"
#include "cuda/device/reduce.cuh"
#include "cuda/launch.h"
#include "cuda/support.h"

namespace hn::cuda {
namespace {

constexpr int kThreads = 256;

/// Elements of a block: whole rounds of all threads, and so many that there are about 1,024 blocks at most.
int64_t block_elements(int64_t count) {
  constexpr int64_t kRound = 8 * kThreads, kLeast = 4 * kRound, kMostBlocks = 1024;
  return std::max(kLeast, ceil_div(ceil_div(count, kMostBlocks), kRound) * kRound);
}

/// Element i of both, or a pack from i on, which may end behind the last element: what is missing there reads as 0.
template <class T, int kPackSize>
HN_DEVICE void load_both(const T* a, const T* b, const ElementMap<2>& map, int64_t i, int64_t count,
                         float (&u)[kPackSize], float (&v)[kPackSize]) {
  if constexpr (kPackSize == 1) {
    int64_t at[2];
    map.offsets(i, at);
    u[0] = load(a + at[0]);
    v[0] = load(b + at[1]);
  } else if (i + kPackSize <= count) {
    load_pack(a + i, u);
    load_pack(b + i, v);
  } else {
#pragma unroll
    for (int k = 0; k < kPackSize; ++k) {
      u[k] = i + k < count ? load(a + i + k) : 0.0f;
      v[k] = i + k < count ? load(b + i + k) : 0.0f;
    }
  }
}

/// shares[block] = the sum over its elements.
template <class T, int kPackSize>
__global__ void __launch_bounds__(kThreads) sum_kernel(const T* a, const T* b, ElementMap<2> map, int64_t count,
                                                       int64_t per_block, bool squared, float* shares) {
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * per_block, end = min(begin + per_block, count);
  float chain[kPackSize] = {};
#pragma unroll 4
  for (int64_t i = begin + static_cast<int64_t>(threadIdx.x) * kPackSize; i < end; i += kThreads * kPackSize) {
    float u[kPackSize], v[kPackSize];
    load_both(a, b, map, i, count, u, v);
#pragma unroll
    for (int k = 0; k < kPackSize; ++k) {
      const float d = u[k] - v[k];
      chain[k] += squared ? d * d : fabsf(d);
    }
  }
  float sum = 0;
#pragma unroll
  for (int k = 0; k < kPackSize; ++k) sum += chain[k];
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) shares[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads) mean_kernel(const float* shares, int64_t blocks, int64_t count, AnyOut y) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < blocks; i += kThreads) sum += shares[i];
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) y.store(0, static_cast<float>(sum / static_cast<double>(count)));
}

HN_DEVICE float slope(float g, float a, float b, float count, bool squared) {
  if (squared) return g * (2.0f * (a - b) / count);
  return a > b ? g / count : a < b ? -g / count : g * (a - b);  // 0 where they are equal, NaN where one is NaN
}

/// Dense a, b and da; dy is one number.
template <class T>
__global__ void __launch_bounds__(kThreads)
    dense_backward_kernel(AnyPtr dy, const T* a, const T* b, T* da, int64_t count, bool squared) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kPack<T>;
  if (i >= count) return;
  const float g = dy.load(0), n = static_cast<float>(count);
  float u[kPack<T>], v[kPack<T>];
  if (i + kPack<T> <= count) {
    load_pack(a + i, u);
    load_pack(b + i, v);
#pragma unroll
    for (int k = 0; k < kPack<T>; ++k) u[k] = slope(g, u[k], v[k], n, squared);
    store_pack(da + i, u);
  } else {
    for (int64_t k = i; k < count; ++k) store(da + k, slope(g, load(a + k), load(b + k), n, squared));
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(AnyPtr dy, const T* a, const T* b, T* da, ElementMap<4> map, int64_t count, bool squared) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  int64_t at[4];
  map.offsets(i, at);
  store(da + at[3], slope(dy.load(at[0]), load(a + at[1]), load(b + at[2]), static_cast<float>(count), squared));
}

// --- launchers -----------------------------------------------------------------------------------------------------

bool dense_packs(const TensorView& t) { return t.is_dense() && reinterpret_cast<uintptr_t>(t.data) % 16 == 0; }

/// Whether all elements of the view are the same one.
bool is_one_number(const TensorView& t) {
  for (int i = 0; i < t.rank; ++i) {
    if (t.shape[i] != 1 && t.strides[i] != 0) return false;
  }
  return true;
}

}  // namespace

HN_SUPPORTS(distance, kFloats);
HN_SUPPORTS(distance_backward, kFloats);

Status distance(const Context& ctx, const DistanceArgs& a) {
  if (a.b.dtype != a.a.dtype) return Status::missing("distance: b is of another type than a");
  const int64_t count = a.a.elements(), per_block = block_elements(count), blocks = ceil_div(count, per_block);
  float* const shares = ctx.workspace<float>(blocks);
  if (shares == nullptr) return Status::no_memory();
  HN_RETURN_IF_ERROR(with_storage(a.a.dtype, [&](auto storage) {
    using T = decltype(storage);
    const auto launch = [&](auto pack) {
      return HN_LAUNCH((sum_kernel<T, pack()>), blocks, kThreads, 0, ctx, a.a.as<T>(), a.b.as<T>(),
                       ElementMap<2>(a.a, {&a.a, &a.b}), count, per_block, a.fn == DistanceArgs::Fn::mse, shares);
    };
    if (dense_packs(a.a) && dense_packs(a.b)) return launch(std::integral_constant<int, kPack<T>>{});
    return launch(std::integral_constant<int, 1>{});
  }));
  return HN_LAUNCH((mean_kernel), 1, kThreads, 0, ctx, shares, blocks, count, AnyOut(a.y));
}

Status distance_backward(const Context& ctx, const DistanceBackwardArgs& a) {
  if (a.b.dtype != a.a.dtype) return Status::missing("distance_backward: b is of another type than a");
  const int64_t count = a.a.elements();
  const bool squared = a.fn == DistanceBackwardArgs::Fn::mse;
  return with_storage(a.a.dtype, [&](auto storage) {
    using T = decltype(storage);
    if (is_one_number(a.dy) && dense_packs(a.a) && dense_packs(a.b) && dense_packs(a.da)) {
      const int64_t threads = ceil_div(count, kPack<T>);
      return HN_LAUNCH((dense_backward_kernel<T>), ceil_div(threads, kThreads), kThreads, 0, ctx, AnyPtr(a.dy),
                       a.a.as<T>(), a.b.as<T>(), a.da.as<T>(), count, squared);
    }
    return HN_LAUNCH((backward_kernel<T>), ceil_div(count, kThreads), kThreads, 0, ctx, AnyPtr(a.dy), a.a.as<T>(),
                     a.b.as<T>(), a.da.as<T>(), ElementMap<4>(a.a, {&a.dy, &a.a, &a.b, &a.da}), count, squared);
  });
}

}  // namespace hn::cuda
