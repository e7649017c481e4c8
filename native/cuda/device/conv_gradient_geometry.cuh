// What the kernels of the gradient for the weight share, on tensor cores and off them: where a block stands, which
// voxel of x a voxel of dy reads through a tap, and where sums go.
#pragma once

#include "cuda/conv3d.h"

namespace hn::cuda {

/// Tiles of one part lie together: blocks that run at a time read the same voxels.
struct ConvGradientPlace {
  int64_t part, tile_m, tile_n;

  HN_DEVICE ConvGradientPlace(const ConvGradientParams& p, int tile_m_size, int tile_n_size) {
    const int64_t n_size = static_cast<int64_t>(p.taps()) * p.padded_channels;
    const int64_t tiles_m = (p.m + tile_m_size - 1) / tile_m_size, tiles_n = (n_size + tile_n_size - 1) / tile_n_size;
    const auto block = static_cast<int64_t>(blockIdx.x);
    part = block / (tiles_m * tiles_n);
    const int64_t tile = block - part * (tiles_m * tiles_n);
    tile_n = tile / tiles_m;
    tile_m = tile - tile_n * tiles_m;
  }

  /// The part's voxels, in blocks of kK.
  template <int kK>
  HN_DEVICE void range(const ConvGradientParams& p, int& begin, int& end) const {
    static_assert(kConvGradientUnit % kK == 0);
    const int64_t first = part * p.part_blocks * kConvGradientUnit;
    const int64_t last = min(first + static_cast<int64_t>(p.part_blocks) * kConvGradientUnit, int64_t{p.voxels});
    begin = static_cast<int>(first / kK);
    end = static_cast<int>((last + kK - 1) / kK);
  }
};

inline int64_t conv_gradient_blocks(const ConvGradientParams& p, int tile_m, int tile_n) {
  return p.parts * ceil_div(p.m, tile_m) * ceil_div(static_cast<int64_t>(p.taps()) * p.padded_channels, tile_n);
}

/// A few neighbouring channels of x through one tap: a column of the gathered matrix, the same for all voxels.
template <class T>
class ConvColumn {
 public:
  ConvColumn() = default;
  /// From element n of (tap, channel) on.
  HN_DEVICE ConvColumn(const ConvGradientParams& p, int64_t n) {
    int tap = static_cast<int>(n / p.padded_channels);
    channel_ = static_cast<int>(n - static_cast<int64_t>(tap) * p.padded_channels);
    inside_ = tap < p.taps();
    const int w = tap % p.kernel[2];
    tap /= p.kernel[2];
    const int h = tap % p.kernel[1];
    t_ = tap / p.kernel[1] - p.before[0];
    h_ = h - p.before[1];
    w_ = w - p.before[2];
  }

  /// Those of voxel v of dy. Where there is zero, `inside` is false and the address one that is not read. The products
  /// of a tile are scheduled among these instructions; the one branch, which all threads take alike, keeps the compiler
  /// from working out all rows of a fetch at once, for which there are no registers.
  HN_DEVICE const T* at(const ConvGradientParams& p, int v, bool& inside) const {
    inside = inside_ & (v < p.voxels);
    v = min(v, p.voxels - 1);
    const int w = p.width.split(v) * p.stride[2] + w_, near_w = min(max(w, 0), p.size[2] - 1);
    const int h = p.height.split(v) * p.stride[1] + h_, near_h = min(max(h, 0), p.size[1] - 1);
    const int t = p.frames.split(v) * p.stride[0] + t_, near_t = min(max(t, 0), p.size[0] - 1);
    if (!p.clamp) inside &= (t == near_t) & (h == near_h) & (w == near_w);
    return static_cast<const T*>(p.x.data) + v * p.x.b + near_t * p.x.t + near_h * p.x.h + near_w * p.x.w +
           channel_ * p.x.c;
  }
  HN_DEVICE int channel() const { return channel_; }

 private:
  int t_ = 0, h_ = 0, w_ = 0, channel_ = 0;
  bool inside_ = false;
};

/// Stores sums of a part: n counts (tap, padded channel), of which kWidth lie within one tap. An epilogue of
/// gemm_tile.cuh for kWidth = 8.
template <int kWidth>
class ConvGradientEpilogue {
 public:
  struct Columns {
    int64_t offset;
    int count;
  };

  HN_DEVICE ConvGradientEpilogue(const ConvGradientParams& p, int64_t part)
      : pitch_(static_cast<int64_t>(p.taps()) * p.channels),
        to_(p.shares + part * p.m * pitch_),
        channels_(p.channels),
        padded_(p.padded_channels),
        packed_(p.packed) {}

  HN_DEVICE Columns columns(int64_t n, int) const {
    const int64_t tap = n / padded_;
    const auto channel = static_cast<int>(n - tap * padded_);
    return {tap * channels_ + channel, channels_ - channel};
  }

  HN_DEVICE void row(const Columns& c, int64_t m, int64_t, int, const float (&v)[kWidth]) const {
    float* const to = to_ + m * pitch_ + c.offset;
    if (packed_) {
#pragma unroll
      for (int i = 0; i < kWidth; i += 4) {
        const float part[4] = {v[i], v[i + 1], v[i + 2], v[i + 3]};
        store_pack<4>(to + i, part);
      }
      return;
    }
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      if (i < c.count) to[i] = v[i];
    }
  }

 private:
  int64_t pitch_;
  float* to_;
  int channels_, padded_;
  bool packed_;
};

}  // namespace hn::cuda
