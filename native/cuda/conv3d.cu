// Convolution over [B, T, H, W, C], weight [Cout, kt, kh, kw, Cin], and its gradient for the input:
//   y[v, co]  = bias[co] + Σ_tap Σ_ci x[position(v, tap), ci] · weight[co, tap, ci]
//   dx[u, ci] = Σ_tap Σ_co weight[co, tap, ci] · Σ dy[v, co] over the v that read u through this tap
// with position(v, tap) = v · stride + tap − before along each axis. A position beyond the edge is the edge (replicate)
// or zero: index arithmetic, no padded copy, no im2col buffer.
//
// x and dy of any strides, y of any (it may be every second row of a larger clip), in f32, bf16 or f16; the weight
// dense and of any float type; bias of any. Sums are f32, rounded once when stored. Channels in whole packs of 16 bytes
// are gathered by cp.async; any other number or alignment by single elements. Strides up to 2 for the gradient, kernels
// up to 16 an axis.
// A weight of another type than x (than dy, for the gradient) is rounded to that type first. The CPU multiplies with it
// as it is, and so does linear on CUDA, which computes in f32 when types differ (linear.cu); here that would take x in
// f32 as well, twice its memory again. The result is that of a weight stored in the type of x.
// Bytes: size(x) + size(y) + size(weight) from memory, and each x is read once a tap from L2. FLOPs: 2 · voxels · Cout
// · taps · Cin, for the gradient too: no product with a zero that a stride or the edge leaves is done. Bound by tensor
// cores from about 64 channels on: [1, 33, 256, 256, 128] by 128 channels and 27 taps is 1.9 TFLOP; f32 is bound by
// FMA.
//
// An implicit product (gemm_tile.cuh for bf16 and f16, conv_plain.cuh for f32); conv_geometry.cuh says how voxels are
// sorted so that both ops are one kernel. The gradient's weight is turned round once beforehand: [Cin, taps, Cout].
#include "cuda/conv3d.h"

#include <algorithm>

#include "core/generated/conv3d.h"
#include "cuda/device/voxels.cuh"
#include "cuda/support.h"

namespace hn::cuda {
namespace {

constexpr int kThreads = 256;

// --- the weight, as kernels read it
// -------------------------------------------------------------------------------------

/// out[r, c] = weight[r, c], zeros from `channels` to `padded`; r counts (Cout, tap).
template <class T>
__global__ void __launch_bounds__(kThreads, 1)
    pad_weight_kernel(AnyPtr weight, T* out, int64_t count, int channels, Divider padded) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  int64_t row = i;
  const int64_t c = padded.split(row);
  out[i] = narrow<T>(c < channels ? weight.load(row * channels + c) : 0.0f);
}

/// [Cout, taps, Cin], turned round.
struct WeightTurn {
  static constexpr int kSide = 32, kStep = kThreads / kSide;
  int64_t channels_out, channels_in, taps, padded;  // padded: Cout in whole packs
  int64_t tiles_out, tiles_in;
};

/// out[ci, tap, co] = weight[co, tap, ci], zeros from Cout to `padded`: a square of 32 × 32 of one tap a block.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) turn_weight_kernel(AnyPtr weight, T* out, WeightTurn turn) {
  constexpr int kSide = WeightTurn::kSide;
  HN_SHARED(float, square, [kSide][kSide + 1]);
  const int x = static_cast<int>(threadIdx.x) % kSide, y = static_cast<int>(threadIdx.x) / kSide;
  const int64_t tile = blockIdx.x / turn.taps, tap = blockIdx.x - tile * turn.taps;
  const int64_t tile_in = tile / turn.tiles_out;
  const int64_t ci0 = tile_in * kSide, co0 = (tile - tile_in * turn.tiles_out) * kSide;
#pragma unroll
  for (int i = y; i < kSide; i += WeightTurn::kStep) {
    const int64_t co = co0 + i, ci = ci0 + x;
    const bool inside = co < turn.channels_out && ci < turn.channels_in;
    square[i][x] = inside ? weight.load((co * turn.taps + tap) * turn.channels_in + ci) : 0.0f;
  }
  __syncthreads();
#pragma unroll
  for (int i = y; i < kSide; i += WeightTurn::kStep) {
    const int64_t ci = ci0 + i, co = co0 + x;
    if (ci >= turn.channels_in || co >= turn.padded) continue;
    out[(ci * turn.taps + tap) * turn.padded + co] = narrow<T>(square[x][i]);
  }
}

// --- launchers
// ----------------------------------------------------------------------------------------------------------

/// Of the type that is multiplied.
template <class T>
Status pad_weight(const Context& ctx, const TensorView& weight, ConvParams& p) {
  const int64_t count = weight.elements() / std::max(p.channels, 1) * p.padded_channels;
  T* const out = ctx.workspace<T>(count);
  if (out == nullptr) return Status::no_memory();
  p.weight = out;
  return HN_LAUNCH((pad_weight_kernel<T>), ceil_div(count, kThreads), kThreads, 0, ctx, AnyPtr(weight), out, count,
                   p.channels, Divider(p.padded_channels));
}

template <class T>
Status turn_weight(const Context& ctx, const TensorView& weight, ConvParams& p) {
  WeightTurn turn{weight.dim(0), weight.dim(4), weight.dim(1) * weight.dim(2) * weight.dim(3), p.padded_channels, 0, 0};
  turn.tiles_out = ceil_div(turn.padded, WeightTurn::kSide);
  turn.tiles_in = ceil_div(turn.channels_in, WeightTurn::kSide);
  T* const out = ctx.workspace<T>(turn.channels_in * turn.taps * turn.padded);
  if (out == nullptr) return Status::no_memory();
  p.weight = out;
  return HN_LAUNCH((turn_weight_kernel<T>), turn.taps * turn.tiles_out * turn.tiles_in, kThreads, 0, ctx,
                   AnyPtr(weight), out, turn);
}

/// Everything but the weight and the axes.
Status fill_params(const TensorView& source, const TensorView& weight, const TensorView& out, ConvParams& p) {
  const int64_t pack = 16 / info(source.dtype).block_bytes;
  const int64_t padded = ceil_div(source.dim(4), pack) * pack;
  if (weight.dim(1) * weight.dim(2) * weight.dim(3) * padded * std::max<int64_t>(out.dim(4), 2) > INT32_MAX) {
    return Status::missing("a convolution with a weight of 2^31 elements and more");
  }
  p.source = conv_tensor(source);
  p.out = conv_tensor(out);
  p.channels = static_cast<int>(source.dim(4));
  p.padded_channels = static_cast<int>(padded);
  p.out_channels = out.dim(4);
  p.batch = out.dim(0);
  p.packed = packs(out);
  p.wide = packs(source);
  for (int i = 0; i < 3; ++i) {
    p.axes[i].source_size = static_cast<int>(source.dim(i + 1));
    p.axes[i].kernel = static_cast<int>(weight.dim(i + 1));
    if (p.axes[i].kernel > kMostConvTaps) return Status::missing("a convolution with more than 16 taps along an axis");
  }
  return {};
}

Status launch(const Context& ctx, DType dtype, ConvParams& p) {
  switch (dtype) {
    case DType::bf16:
      return conv_bf16(ctx, p);
    case DType::f16:
      return conv_f16(ctx, p);
    default:
      return conv_f32(ctx, p);
  }
}

/// One axis of the convolution whose gradient is taken.
struct GradientAxis {
  int in, out, taps, stride, before, after;
  bool replicate;

  /// The classes of its inputs, edges first. Places are counted along the padded axis: input u lies at u + before, and
  /// output v reads place v · stride + tap through tap.
  Status fill(ConvAxis& axis) const {
    const bool front = replicate && before > 0, back = replicate && after > 0;
    const int begin = front ? 1 : 0, end = back && in > begin ? in - 1 : in;
    if (front) HN_RETURN_IF_ERROR(add_edge(axis, 0, 0, in == 1 && back ? before + after : before));
    if (end < in) HN_RETURN_IF_ERROR(add_edge(axis, in - 1, before + in - 1, before + in - 1 + after));
    for (int phase = 0; phase < stride; ++phase) {
      const int first = begin + ((phase - begin - before) % stride + stride) % stride;
      if (first >= end) continue;
      ConvAxisClass& c = axis.items[axis.classes++];
      c.count = Divider((end - 1 - first) / stride + 1);
      c.start = first;
      c.step = stride;
      for (int tap = phase; tap < taps; tap += stride) c.tap[c.taps++] = {tap, (first + before - tap) / stride};
    }
    return {};
  }

 private:
  /// Input u alone, which received what places [low, high] were given.
  Status add_edge(ConvAxis& axis, int u, int low, int high) const {
    ConvAxisClass& c = axis.items[axis.classes++];
    c.count = Divider(1);
    c.start = u;
    for (int tap = 0; tap < taps; ++tap) {
      for (int place = std::max(low, tap); place <= high; ++place) {
        const int v = (place - tap) / stride;
        if ((place - tap) % stride != 0 || v >= out) continue;
        if (c.taps == kMostConvTaps) return Status::missing("conv3d_backward_input: an edge with more than 16 readers");
        c.tap[c.taps++] = {tap, v};
      }
    }
    return {};
  }
};

}  // namespace

ConvTensor conv_tensor(const TensorView& t) {
  return {t.data, t.strides[0], t.strides[1], t.strides[2], t.strides[3], t.strides[4]};
}

int64_t deal_blocks(ConvParams& p, int tile_m, int tile_n) {
  p.tiles_n = ceil_div(p.out_channels, tile_n);
  int n = 0;
  p.first_block[0] = 0;
  for (int t = 0; t < p.axes[0].classes; ++t)
    for (int h = 0; h < p.axes[1].classes; ++h)
      for (int w = 0; w < p.axes[2].classes; ++w, ++n) {
        const int64_t voxels = p.batch * p.axes[0].items[t].count.divisor() * p.axes[1].items[h].count.divisor() *
                               p.axes[2].items[w].count.divisor();
        p.first_block[n + 1] = p.first_block[n] + ceil_div(voxels, tile_m) * p.tiles_n;
      }
  return p.first_block[n];
}

const char* describe(ConvTile tile) {
  return tile == ConvTile::large ? "128x256x32" : tile == ConvTile::tall ? "256x128x32" : "64x64x32";
}

ConvTile choose_conv_tile(const ConvParams& p, const DeviceProperties& device) {
  constexpr int kTallBytes = 100 << 10;  // more than 8.6 has
  // In units of one large tile a multiprocessor: the small one does an eighth of the products at about 0.6 of the rate.
  const auto cost = [&](int tile_m, int tile_n, double each) {
    ConvParams copy = p;
    const double turns = static_cast<double>(deal_blocks(copy, tile_m, tile_n)) / device.sm_count;
    return each * (turns < 16 ? static_cast<double>(static_cast<int64_t>(turns + 0.999999)) : turns);
  };
  const double large = cost(128, 256, 1.0), tall = cost(256, 128, 1.0), small = cost(64, 64, 0.2);
  const bool tall_fits = device.max_shared_bytes >= kTallBytes;
  if (small < large && (small < tall || !tall_fits)) return ConvTile::small;
  return tall < large && tall_fits ? ConvTile::tall : ConvTile::large;
}

HN_SUPPORTS(conv3d, kFloats);
HN_SUPPORTS(conv3d_backward_input, kFloats);

Status conv3d(const Context& ctx, const Conv3dArgs& a) {
  if (a.y.elements() == 0) return {};
  const TensorView x = with_frames(a.x), weight = with_frames(a.weight), y = with_frames(a.y);
  ConvParams p;
  HN_RETURN_IF_ERROR(fill_params(x, weight, y, p));
  p.bias = AnyPtr(a.bias);
  p.clamp = a.pad_mode == Conv3dArgs::PadMode::replicate;
  for (int i = 0; i < 3; ++i) {
    ConvAxisClass& c = p.axes[i].items[0];
    p.axes[i].classes = 1;
    c.count = Divider(y.dim(i + 1));
    c.source_step = static_cast<int>(a.stride[i]);
    for (int tap = 0; tap < p.axes[i].kernel; ++tap) c.tap[c.taps++] = {tap, tap - static_cast<int>(a.before[i])};
  }
  const bool as_it_is =
      weight.dtype == x.dtype && p.channels == p.padded_channels && reinterpret_cast<uintptr_t>(weight.data) % 16 == 0;
  if (as_it_is) {
    p.weight = weight.data;
  } else {
    HN_RETURN_IF_ERROR(
        with_storage(x.dtype, [&](auto storage) { return pad_weight<decltype(storage)>(ctx, weight, p); }));
  }
  return launch(ctx, x.dtype, p);
}

Status conv3d_backward_input(const Context& ctx, const Conv3dBackwardInputArgs& a) {
  if (a.dx.elements() == 0) return {};
  const TensorView dy = with_frames(a.dy), weight = with_frames(a.weight), dx = with_frames(a.dx);
  ConvParams p;
  HN_RETURN_IF_ERROR(fill_params(dy, weight, dx, p));
  for (int i = 0; i < 3; ++i) {
    const GradientAxis axis{static_cast<int>(dx.dim(i + 1)),
                            static_cast<int>(dy.dim(i + 1)),
                            p.axes[i].kernel,
                            static_cast<int>(a.stride[i]),
                            static_cast<int>(a.before[i]),
                            static_cast<int>(a.after[i]),
                            a.pad_mode == Conv3dBackwardInputArgs::PadMode::replicate};
    if (axis.stride > 2) return Status::missing("conv3d_backward_input: a stride above 2");
    HN_RETURN_IF_ERROR(axis.fill(p.axes[i]));
  }
  HN_RETURN_IF_ERROR(
      with_storage(dy.dtype, [&](auto storage) { return turn_weight<decltype(storage)>(ctx, weight, p); }));
  return launch(ctx, dy.dtype, p);
}

}  // namespace hn::cuda
