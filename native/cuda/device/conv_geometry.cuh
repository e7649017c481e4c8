// What a convolution, or its gradient for the input, reads and where it puts results, as plain numbers. Made on the
// host (conv3d.cu), passed to kernels by value.
//
// Both are one product of M = voxels of the result, N = channels of the result, K = (tap, channel of the source):
//   out[v, n] = bias[n] + Σ_tap Σ_c source[position(v, tap), c] · weight[n, tap, c]
// Along each axis the voxels of the result are sorted into classes that read through the same taps; a combination of
// three classes is a grid of voxels with a list of taps, and a block computes a tile of one grid.
//   forward         one class an axis: all positions, all taps
//   input gradient  with replicate padding an edge also received what its copies in the padding were given, so an edge
//                   is a class of its own, in which a tap occurs as often as there are outputs that read the edge
//                   through it; with stride s the other positions fall into s classes, each with every s-th tap
// So every product that counts is done once, and a position is linear in the voxel's number within its class.
#pragma once

#include "cuda/device/any_ptr.cuh"
#include "cuda/device/divider.cuh"
#include "cuda/device/gemm_tile.cuh"

namespace hn::cuda {

constexpr int kMostConvTaps = 16;    // of a class, along one axis
constexpr int kMostConvClasses = 4;  // of an axis: two edges and the phases of stride 2

/// Voxel i of the class reads source position i · source_step + offset.
struct ConvTap {
  int tap, offset;
};

struct ConvAxisClass {
  Divider count;            // its voxels
  int start = 0, step = 1;  // voxel i is position start + i · step of the result
  int source_step = 1;
  int taps = 0;
  ConvTap tap[kMostConvTaps];
};

struct ConvAxis {
  int source_size = 0, kernel = 1;
  int classes = 0;
  ConvAxisClass items[kMostConvClasses];
};

/// [B, T, H, W, C] in elements.
struct ConvTensor {
  void* data = nullptr;
  int64_t b = 0, t = 0, h = 0, w = 0, c = 1;
};

struct ConvParams {
  ConvTensor source, out;
  int channels = 0;         // of the source
  int padded_channels = 0;  // a multiple of what loaders take at once; K is taps · padded_channels
  int64_t out_channels = 0, batch = 0;
  const void* weight = nullptr;  // [N, taps, padded_channels], of the type that is multiplied, 16-byte aligned
  AnyPtr bias;
  bool clamp = false;   // a position beyond the source is its edge; else there is zero
  bool packed = false;  // out is written in packs of 16 bytes
  bool wide = false;    // the source is read in packs of 16 bytes
  ConvAxis axes[3];
  int64_t tiles_n = 0;
  int64_t first_block[kMostConvClasses * kMostConvClasses * kMostConvClasses + 1];

  /// Elements of the weight for one channel of the result.
  HN_DEVICE int64_t weight_pitch() const {
    return static_cast<int64_t>(axes[0].kernel) * axes[1].kernel * axes[2].kernel * padded_channels;
  }
};

/// Where a block stands: its grid of voxels and its tile.
struct ConvPlace {
  const ConvAxisClass &t, &h, &w;
  int64_t voxels, tile_m, tile_n;

  template <int kTileM>
  HN_DEVICE static ConvPlace find(const ConvParams& p) {
    const auto block = static_cast<int64_t>(blockIdx.x);
    int n = 0;
    while (block >= p.first_block[n + 1]) ++n;
    const int per_frame = p.axes[1].classes * p.axes[2].classes, in_frame = n % per_frame;
    ConvPlace place{p.axes[0].items[n / per_frame],
                    p.axes[1].items[in_frame / p.axes[2].classes],
                    p.axes[2].items[in_frame % p.axes[2].classes],
                    0,
                    0,
                    0};
    place.voxels = p.batch * place.t.count.divisor() * place.h.count.divisor() * place.w.count.divisor();
    const TileOrder order{(place.voxels + kTileM - 1) / kTileM, p.tiles_n};
    order.place(block - p.first_block[n], place.tile_m, place.tile_n);
    return place;
  }

  /// (b, t, h, w) of a voxel, each counted within its class.
  HN_DEVICE int4 voxel(int64_t m) const {
    int4 at;
    at.w = static_cast<int>(w.count.split(m));
    at.z = static_cast<int>(h.count.split(m));
    at.y = static_cast<int>(t.count.split(m));
    at.x = static_cast<int>(m);
    return at;
  }
  HN_DEVICE int k_size(int padded_channels) const { return t.taps * h.taps * w.taps * padded_channels; }
};

/// The voxels of a block's tile, worked out once. Rows beyond the last voxel repeat it: what they sum up is dropped.
template <int kTileM, int kThreads>
HN_DEVICE void fill_voxels(const ConvPlace& place, int4* rows) {
  const int64_t m0 = place.tile_m * kTileM;
  for (int r = static_cast<int>(threadIdx.x); r < kTileM; r += kThreads) {
    rows[r] = place.voxel(min(m0 + r, place.voxels - 1));
  }
  __syncthreads();
}

/// A thread's way along K in strides of kStep: one tap after another, channels within each.
template <int kStep>
class ConvWalk {
 public:
  /// From element k of K on.
  HN_DEVICE ConvWalk(const ConvParams& p, const ConvPlace& place, int k) : p_(p), place_(place), channel_(k) {
    settle();
    find_weight();
  }

  /// Whether there is anything left; a step beyond the end finds zeros.
  HN_DEVICE bool inside() const { return t_ < place_.t.taps; }
  /// Of the source; always one that there is.
  HN_DEVICE int channel() const { return channel_; }
  /// Within a row of the weight.
  HN_DEVICE int weight_offset() const { return weight_ + channel_; }
  HN_DEVICE const ConvTap& t() const { return place_.t.tap[t_]; }
  HN_DEVICE const ConvTap& h() const { return place_.h.tap[h_]; }
  HN_DEVICE const ConvTap& w() const { return place_.w.tap[w_]; }

  /// Answers whether the tap is another now.
  HN_DEVICE bool step() {
    channel_ += kStep;
    if (channel_ < p_.padded_channels) return false;
    settle();
    find_weight();
    return true;
  }

 private:
  HN_DEVICE void settle() {
    while (channel_ >= p_.padded_channels && inside()) {
      channel_ -= p_.padded_channels;
      if (++w_ < place_.w.taps) continue;
      w_ = 0;
      if (++h_ < place_.h.taps) continue;
      h_ = 0;
      ++t_;
    }
    if (!inside()) channel_ = 0;
  }
  HN_DEVICE void find_weight() {
    if (!inside()) return;
    weight_ = ((t().tap * p_.axes[1].kernel + h().tap) * p_.axes[2].kernel + w().tap) * p_.padded_channels;
  }

  const ConvParams& p_;
  const ConvPlace& place_;
  int channel_, weight_ = 0;
  int t_ = 0, h_ = 0, w_ = 0;
};

/// What a voxel reads through a tap: the source's channels there. Where there is zero, `inside` is false and the
/// address one that is not read.
template <class T, int kStep>
HN_DEVICE const T* source_at(const ConvParams& p, const ConvPlace& place, const ConvWalk<kStep>& walk,
                             const int4& voxel, bool& inside) {
  const T* const source = static_cast<const T*>(p.source.data);
  inside = walk.inside();
  if (!inside) return source;
  const int t = voxel.y * place.t.source_step + walk.t().offset, near_t = min(max(t, 0), p.axes[0].source_size - 1);
  const int h = voxel.z * place.h.source_step + walk.h().offset, near_h = min(max(h, 0), p.axes[1].source_size - 1);
  const int w = voxel.w * place.w.source_step + walk.w().offset, near_w = min(max(w, 0), p.axes[2].source_size - 1);
  inside = p.clamp || (t == near_t && h == near_h && w == near_w);
  return source + voxel.x * p.source.b + near_t * p.source.t + near_h * p.source.h + near_w * p.source.w;
}

/// Adds the bias, rounds and stores rows of kWidth neighbouring channels; an epilogue of gemm_tile.cuh for kWidth = 8.
template <class T, int kWidth>
class ConvEpilogue {
 public:
  struct Columns {
    float bias[kWidth];
  };

  /// rows: the voxels from number m0 on.
  HN_DEVICE ConvEpilogue(const ConvParams& p, const ConvPlace& place, const int4* rows, int64_t m0)
      : p_(p), place_(place), rows_(rows), m0_(m0) {}

  HN_DEVICE Columns columns(int64_t n, int count) const {
    Columns c;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) c.bias[i] = i < count ? p_.bias.load_or(n + i, 0.0f) : 0.0f;
    return c;
  }

  HN_DEVICE void row(const Columns& c, int64_t m, int64_t n, int count, float (&v)[kWidth]) const {
    const int4 at = rows_[m - m0_];
    const int t = place_.t.start + at.y * place_.t.step, h = place_.h.start + at.z * place_.h.step;
    const int w = place_.w.start + at.w * place_.w.step;
    T* const to =
        static_cast<T*>(p_.out.data) + at.x * p_.out.b + t * p_.out.t + h * p_.out.h + w * p_.out.w + n * p_.out.c;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) v[i] += c.bias[i];
    if (p_.packed && count == kWidth) {
      store_pack<kWidth>(to, v);
      return;
    }
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      if (i < count) to[i * p_.out.c] = narrow<T>(v[i]);
    }
  }

 private:
  const ConvParams& p_;
  const ConvPlace& place_;
  const int4* rows_;
  int64_t m0_;
};

}  // namespace hn::cuda
