// Tensors from numbers: one value everywhere, or start + i · step. Any strides, every type.
// Bytes: size(y). Bound by memory: one write.
#include "core/generated/fill.h"
#include "cuda/copy_view.h"
#include "cuda/device/convert.cuh"
#include "cuda/device/walk.cuh"
#include "cuda/launch.h"
#include "cuda/support.h"

namespace hn::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kItems = 4;  // of a thread, so that the value is converted once for more of them

/// The bits of an element of `size` bytes, as often as U has room for them.
template <class U>
HN_DEVICE U repeated(uint64_t bits, int size) {
  for (int have = size; have < 8; have *= 2) bits |= bits << 8 * have;
  if constexpr (sizeof(U) == 16) {
    const auto low = static_cast<uint32_t>(bits), high = static_cast<uint32_t>(bits >> 32);
    return make_uint4(low, high, low, high);
  } else {
    return static_cast<U>(bits);
  }
}

template <class U>
__global__ void __launch_bounds__(kThreads)
    fill_kernel(Walk<1> walk, int64_t elements, DType type, int size, double value, U* y) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * (kThreads * kItems), left = elements - first;
  const auto place = walk.place(first);
  const U bits = repeated<U>(element_bits(type, value), size);
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const int step = item * kThreads + static_cast<int>(threadIdx.x);
    if (step >= left) continue;
    int64_t at[1];
    walk.offsets(place, step, at);
    y[at[0]] = bits;
  }
}

/// From the index each time, not by adding steps: no drift, and the same values however the range is cut.
__global__ void __launch_bounds__(kThreads)
    arange_kernel(double start, double step, int64_t length, DType type, void* y, int64_t stride) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= length) return;
  const double value = start + static_cast<double>(i) * step;
  with_target<double>(type, [&](auto storage) {
    using T = decltype(storage);
    static_cast<T*>(y)[i * stride] = convert<T>(value);
  });
}

// --- launchers ------------------------------------------------------------------------------------------------------

template <class U>
Status fill_units(const Context& ctx, double value, const TensorView& y, const Axes<1>& axes, int64_t from = 0) {
  const int64_t elements = axes.elements();
  return HN_LAUNCH((fill_kernel<U>), ceil_div(elements, kThreads * kItems), kThreads, 0, ctx, Walk<1>(axes), elements,
                   y.dtype, info(y.dtype).block_bytes, value, static_cast<U*>(y.at(from)));
}

Status fill_elements(const Context& ctx, double value, const TensorView& y, const Axes<1>& axes, int64_t from = 0) {
  switch (info(y.dtype).block_bytes) {
    case 1:
      return fill_units<uint8_t>(ctx, value, y, axes, from);
    case 2:
      return fill_units<uint16_t>(ctx, value, y, axes, from);
    case 4:
      return fill_units<uint32_t>(ctx, value, y, axes, from);
    default:
      return fill_units<uint64_t>(ctx, value, y, axes, from);
  }
}

}  // namespace

/// In units of 16 bytes where y is made of them; what a lone axis has left over goes by elements.
Status fill_view(const Context& ctx, double value, const TensorView& to) {
  if (to.elements() == 0) return {};
  const TensorView* views[] = {&to};
  Axes<1> axes(views);
  if (!axes.walkable()) return kTooLong;
  const int count = 16 / info(to.dtype).block_bytes;
  if (!axes.packs(views, count, false)) return fill_elements(ctx, value, to, axes);
  if (const int64_t rest = axes.width() % count; rest > 0) {
    Axes<1> last = axes;
    last.sizes[0] = rest;
    HN_RETURN_IF_ERROR(fill_elements(ctx, value, to, last, axes.width() - rest));
  }
  axes.rescale(count);
  return fill_units<uint4>(ctx, value, to, axes);
}

HN_SUPPORTS(fill, kAllTypes);
HN_SUPPORTS(arange, kAllTypes);

Status fill(const Context& ctx, const FillArgs& a) { return fill_view(ctx, a.value, a.y); }

Status arange(const Context& ctx, const ArangeArgs& a) {
  const int64_t length = a.y.elements();
  return HN_LAUNCH((arange_kernel), ceil_div(length, kThreads), kThreads, 0, ctx, a.start, a.step, length, a.y.dtype,
                   a.y.data, a.y.stride(-1));
}

}  // namespace hn::cuda
