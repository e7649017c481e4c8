// Gradient of conv3d for its weight:
//   dw[co, tap, ci] = Σ_v dy[v, co] · x[position(v, tap), ci],  position = v · stride + tap − before
// A position beyond the edge is the edge (replicate) or zero.
//
// dy dense, x of any strides, both f32, bf16 or f16; dw in f32. A product of M = Cout, N = taps · Cin, K = voxels; x is
// gathered as in conv3d.cu, any number of channels and any alignment.
// Bytes: each tile of dw reads 128 channels of dy and 256 columns of x for all voxels, from L2. FLOPs: 2 · voxels ·
// Cout · taps · Cin. Bound by tensor cores from about 64 channels on: [1, 33, 256, 256, 128] by 128 channels and 27
// taps is 1.9 TFLOP; f32 is bound by FMA.
//
// K is the long side, and tiles of dw are few: the voxels are cut into parts that different blocks sum up, by the shape
// alone, and a second kernel adds the parts in order: the same bytes each time. Bytes of that: 2 · parts · size(dw).
#include <algorithm>

#include "core/generated/conv3d.h"
#include "cuda/conv3d.h"
#include "cuda/device/shares.cuh"
#include "cuda/device/voxels.cuh"
#include "cuda/support.h"

namespace hn::cuda {
namespace {

/// Into how many parts the voxels are cut: so that there are about four blocks of large tiles a multiprocessor, and
/// none of them is short.
int64_t choose_parts(int64_t m, int64_t n, int64_t voxels) {
  constexpr int64_t kWantedBlocks = 528, kMostParts = 256, kLeastVoxels = 1024;
  const int64_t tiles = m <= 64 || n <= 128 ? ceil_div(m, 64) * ceil_div(n, 64) : ceil_div(m, 128) * ceil_div(n, 256);
  const int64_t parts = std::min({kWantedBlocks / std::max<int64_t>(tiles, 1), kMostParts, voxels / kLeastVoxels});
  return std::max<int64_t>(parts, 1);
}

}  // namespace

HN_SUPPORTS(conv3d_backward_weight, kFloats);

Status conv3d_backward_weight(const Context& ctx, const Conv3dBackwardWeightArgs& a) {
  if (a.dweight.elements() == 0) return {};
  if (a.dy.dtype != a.x.dtype) return Status::missing("conv3d_backward_weight: dy is of another type than x");
  const TensorView dy = with_frames(a.dy), x = with_frames(a.x), dweight = with_frames(a.dweight);
  const int64_t pack = 16 / info(x.dtype).block_bytes, padded = ceil_div(x.dim(4), pack) * pack;
  const int64_t taps = dweight.dim(1) * dweight.dim(2) * dweight.dim(3), voxels = dy.rows();
  if (voxels > INT32_MAX - 1024 || taps * padded > INT32_MAX / 2) {
    return Status::missing("conv3d_backward_weight: 2^31 voxels and more");
  }
  ConvGradientParams p;
  p.dy = dy.data;
  p.x = conv_tensor(x);
  p.m = dy.dim(4);
  p.channels = static_cast<int>(x.dim(4));
  p.padded_channels = static_cast<int>(padded);
  p.voxels = static_cast<int>(voxels);
  p.frames = Divider32(dy.dim(1));
  p.height = Divider32(dy.dim(2));
  p.width = Divider32(dy.dim(3));
  for (int i = 0; i < 3; ++i) {
    p.size[i] = static_cast<int>(x.dim(i + 1));
    p.stride[i] = static_cast<int>(a.stride[i]);
    p.before[i] = static_cast<int>(a.before[i]);
    p.kernel[i] = static_cast<int>(dweight.dim(i + 1));
  }
  p.clamp = a.pad_mode == Conv3dBackwardWeightArgs::PadMode::replicate;
  p.wide = packs(x) && packs(dy);

  const int64_t wanted = choose_parts(p.m, taps * padded, voxels);
  p.part_blocks = static_cast<int>(std::max<int64_t>(ceil_div(ceil_div(voxels, wanted), kConvGradientUnit), 1));
  p.parts = std::max<int64_t>(ceil_div(voxels, static_cast<int64_t>(p.part_blocks) * kConvGradientUnit), 1);
  const int64_t size = a.dweight.elements();
  p.shares = p.parts == 1 ? a.dweight.as<float>() : ctx.workspace<float>(p.parts * size);
  if (p.shares == nullptr) return Status::no_memory();
  p.packed = p.channels == p.padded_channels && reinterpret_cast<uintptr_t>(p.shares) % 16 == 0;

  const auto sum_parts = [&] {
    switch (x.dtype) {
      case DType::bf16:
        return conv_gradient_bf16(ctx, p);
      case DType::f16:
        return conv_gradient_f16(ctx, p);
      default:
        return conv_gradient_f32(ctx, p);
    }
  };
  HN_RETURN_IF_ERROR(sum_parts());
  return p.parts == 1 ? Status{} : add_shares(ctx, p.shares, p.parts, size, a.dweight);
}

}  // namespace hn::cuda
