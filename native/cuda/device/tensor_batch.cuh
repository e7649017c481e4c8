// Many dense tensors in one launch: addresses, types and sizes travel by value in the kernel's parameters, of which
// there may be 4 KB. A list of any length becomes one launch for about sixty tensors (five operands) to a hundred and
// fifty. Each tensor is cut into parts of kPart elements, one a block.
#pragma once

#include "cuda/device/any_pack.cuh"
#include "cuda/launch.h"

namespace hn::cuda {

constexpr int kBatchThreads = 256;
/// Neighbours that a thread takes at a time.
constexpr int kBatchPack = 8;

/// kOperands tensors of the same size at each place of a list: parameter, gradient, …
template <int kOperands>
struct TensorBatch {
  static constexpr int kMost = 3750 / (9 * kOperands + 13);

  void* data[kOperands][kMost];
  int64_t sizes[kMost];
  int32_t first_part[kMost + 1];  // of each tensor, and past the last
  uint8_t types[kOperands][kMost];
  bool packs[kMost];  // every address is whole packs of 16 bytes
  int32_t count;

  struct Part {
    int tensor;
    int64_t begin, end;
  };
  /// What this block takes.
  template <int64_t kPart>
  HN_DEVICE Part part() const {
    const int n = static_cast<int>(blockIdx.x);
    int low = 0, high = count - 1;
    while (low < high) {
      const int middle = (low + high + 1) / 2;
      if (first_part[middle] <= n) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    const int64_t begin = (n - first_part[low]) * kPart;
    return {low, begin, min(begin + kPart, sizes[low])};
  }

  HN_DEVICE DType type(int operand, int tensor) const { return static_cast<DType>(types[operand][tensor]); }
  HN_DEVICE AnyPtr in(int operand, int tensor) const {
    AnyPtr p;
    p.data = data[operand][tensor];
    p.dtype = type(operand, tensor);
    return p;
  }
  HN_DEVICE AnyOut out(int operand, int tensor) const {
    AnyOut p;
    p.data = data[operand][tensor];
    p.dtype = type(operand, tensor);
    return p;
  }
};

/// Elements [i, i + 8) of a dense tensor, or the first `count` of them.
HN_DEVICE void load_batch(const AnyPtr& p, int64_t i, int count, bool packs, float (&v)[kBatchPack]) {
  if (packs && count == kBatchPack) return load_eight(p, i, v);
  load_some(p, i, 1, count, 0.0f, v);
}
HN_DEVICE void store_batch(const AnyOut& p, int64_t i, int count, bool packs, const float (&v)[kBatchPack]) {
  if (packs && count == kBatchPack) return store_eight(p, i, v);
  store_some(p, i, 1, count, v);
}

/// Calls fn(i, count) for each pack of this thread's in the part.
template <class Part, class Fn>
HN_DEVICE void each_pack(const Part& part, Fn&& fn) {
  for (int64_t i = part.begin + static_cast<int>(threadIdx.x) * kBatchPack; i < part.end;
       i += kBatchThreads * kBatchPack) {
    fn(i, static_cast<int>(min(part.end - i, static_cast<int64_t>(kBatchPack))));
  }
}

/// Calls launch(batch, parts, parts before it) for `count` tensors; view(operand, i) is a TensorView, or one without
/// data for an operand that tensor i does not have.
template <int kOperands, class View, class Launch>
Status each_batch(int64_t count, int64_t part_elements, View&& view, Launch&& launch) {
  static_assert(sizeof(TensorBatch<kOperands>) <= 3800, "beside a few numbers this must fit into 4 KB");
  int64_t done = 0;
  for (int64_t i = 0; i < count;) {
    TensorBatch<kOperands> batch;
    int64_t parts = 0;
    int n = 0;
    for (; i < count && n < TensorBatch<kOperands>::kMost; ++i) {
      const int64_t size = view(0, i).elements();
      if (size == 0) continue;
      batch.sizes[n] = size;
      batch.first_part[n] = static_cast<int32_t>(parts);
      batch.packs[n] = true;
      for (int k = 0; k < kOperands; ++k) {
        const TensorView& t = view(k, i);
        batch.data[k][n] = t.data;
        batch.types[k][n] = static_cast<uint8_t>(t.dtype);
        if (reinterpret_cast<uintptr_t>(t.data) % 16 != 0) batch.packs[n] = false;
      }
      parts += ceil_div(size, part_elements);
      ++n;
      if (parts > INT32_MAX / 2) break;
    }
    if (n == 0) return {};
    batch.count = n;
    batch.first_part[n] = static_cast<int32_t>(parts);
    HN_RETURN_IF_ERROR(launch(batch, parts, done));
    done += parts;
  }
  return {};
}

}  // namespace hn::cuda
