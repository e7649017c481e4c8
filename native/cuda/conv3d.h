// Convolutions on the host's side: how a tile is chosen and who launches what. The geometry: device/conv_geometry.cuh;
// what becomes of a call: conv3d.cu and conv3d_backward_weight.cu.
#pragma once

#include "cuda/device/conv_geometry.cuh"
#include "cuda/device/divider32.cuh"
#include "cuda/launch.h"

namespace hn::cuda {

/// 128 × 256, 256 × 128 and 64 × 64 voxels by channels.
enum class ConvTile { large, tall, small };
const char* describe(ConvTile tile);

/// Sums do not depend on the tile, so it may depend on the device.
ConvTile choose_conv_tile(const ConvParams& p, const DeviceProperties& device);

/// Deals tiles of all grids to blocks, those of the edges first: they are few and begin while others have work left.
/// Answers the number of blocks.
int64_t deal_blocks(ConvParams& p, int tile_m, int tile_n);

/// One type a file; the weight is of the source's type. Deals the blocks.
Status conv_bf16(const Context& ctx, ConvParams& p);
Status conv_f16(const Context& ctx, ConvParams& p);
Status conv_f32(const Context& ctx, ConvParams& p);

// --- the gradient for the weight
// ----------------------------------------------------------------------------------------

/// dweight[m, tap, c] = Σ_v dy[v, m] · x[position(v, tap), c]: M = channels of dy, N = (tap, channel of x), K = voxels.
struct ConvGradientParams {
  const void* dy = nullptr;  // [voxels, M], dense
  ConvTensor x;
  int64_t m = 0;
  int channels = 0, padded_channels = 0;  // of x; N is taps · padded_channels
  int voxels = 0;
  Divider32 frames, height, width;  // of dy
  int size[3], stride[3], before[3], kernel[3];
  bool clamp = false, wide = false;
  int64_t parts = 1;        // of the voxels, each summed apart
  int part_blocks = 0;      // blocks of kConvGradientUnit voxels in each but the last
  float* shares = nullptr;  // [parts, M, taps · channels]
  bool packed = false;      // rows of shares are whole packs of 16 bytes

  HN_HOST_DEVICE int taps() const { return kernel[0] * kernel[1] * kernel[2]; }
};

constexpr int kConvGradientUnit = 32;

Status conv_gradient_bf16(const Context& ctx, const ConvGradientParams& p);
Status conv_gradient_f16(const Context& ctx, const ConvGradientParams& p);
Status conv_gradient_f32(const Context& ctx, const ConvGradientParams& p);

// --- shared by both
// -----------------------------------------------------------------------------------------------------

ConvTensor conv_tensor(const TensorView& t);

}  // namespace hn::cuda
