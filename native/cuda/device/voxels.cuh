// Clips [B, T, H, W, C] and images [B, H, W, C] (clips of one frame) of any strides, as voxels of C channels. Made on
// the host, passed to kernels by value.
#pragma once

#include <type_traits>

#include "cuda/device/index.cuh"
#include "cuda/device/storage.cuh"

namespace hn::cuda {

/// Positions are `int`, offsets never.
struct Voxel {
  int b, t, h, w;
};

/// The voxels of a clip in order.
class VoxelGrid {
 public:
  VoxelGrid() = default;
  VoxelGrid(int64_t batch, int64_t frames, int64_t height, int64_t width)
      : count_(batch * frames * height * width), frames_(frames), height_(height), width_(width) {}
  /// Of a tensor [B, T, H, W, C].
  explicit VoxelGrid(const TensorView& t) : VoxelGrid(t.dim(0), t.dim(1), t.dim(2), t.dim(3)) {}

  int64_t count() const { return count_; }

  HN_DEVICE int64_t number(const Voxel& v) const {
    return ((v.b * frames_.divisor() + v.t) * height_.divisor() + v.h) * width_.divisor() + v.w;
  }
  HN_DEVICE Voxel voxel(int64_t n) const {
    Voxel v;
    v.w = static_cast<int>(width_.split(n));
    v.h = static_cast<int>(height_.split(n));
    v.t = static_cast<int>(frames_.split(n));
    v.b = static_cast<int>(n);
    return v;
  }

 private:
  int64_t count_ = 0;
  Divider frames_, height_, width_;
};

/// The data of a tensor [B, T, H, W, C].
template <class T>
class Voxels {
 public:
  explicit Voxels(const TensorView& t)
      : data_(t.as<T>()), b_(t.strides[0]), t_(t.strides[1]), h_(t.strides[2]), w_(t.strides[3]), step_(t.strides[4]) {}

  HN_DEVICE T* at(const Voxel& v) const { return data_ + (v.b * b_ + v.t * t_ + v.h * h_ + v.w * w_); }

  HN_DEVICE T* at(const Voxel& v, int64_t c) const { return at(v) + c * step_; }

  /// Channels [c, c + kCount) of a voxel. More than one only where `packs` says so for the tensor, at multiples of
  /// kCount.
  template <int kCount>
  HN_DEVICE void load(const Voxel& voxel, int64_t c, compute_t<T> (&v)[kCount]) const {
    if constexpr (kCount == 1) {
      v[0] = widen(*at(voxel, c));
    } else {
      load_pack<kCount>(at(voxel) + c, v);
    }
  }
  template <int kCount, class V>
  HN_DEVICE void store(const Voxel& voxel, int64_t c, const V (&v)[kCount]) const {
    if constexpr (kCount == 1) {
      *at(voxel, c) = narrow<T>(v[0]);
    } else {
      store_pack<kCount>(at(voxel) + c, v);
    }
  }

 private:
  T* data_;
  int64_t b_, t_, h_, w_, step_;
};

/// Work dealt out as one pack of channels of one voxel a thread.
class VoxelPacks {
 public:
  VoxelPacks(const VoxelGrid& grid, int64_t channels, int pack)
      : grid_(grid), packs_(channels / pack), pack_(pack), count_(grid.count() * (channels / pack)) {}

  int64_t count() const { return count_; }

  /// The voxel and first channel of this thread, and the number of its pack; false for threads without any.
  HN_DEVICE bool find(int threads, Voxel& voxel, int64_t& channel, int64_t& pack) const {
    pack = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x;
    if (pack >= count_) return false;
    int64_t n = pack;
    channel = packs_.split(n) * pack_;
    voxel = grid_.voxel(n);
    return true;
  }
  HN_DEVICE bool find(int threads, Voxel& voxel, int64_t& channel) const {
    int64_t pack;
    return find(threads, voxel, channel, pack);
  }

 private:
  VoxelGrid grid_;
  Divider packs_;
  int64_t pack_, count_;
};

/// fn(T{}, pack size) for the type of x and the widest access that x and all of `operands` allow; each of them is given
/// (any_rows.cuh has the like of it for operands that may be missing).
template <class Fn, class... Views>
Status with_voxel_packs(Fn&& fn, const TensorView& x, const Views&... operands) {
  return with_storage(x.dtype, [&](auto storage) {
    if ((packs(x) && ... && packs(operands))) {
      return fn(storage, std::integral_constant<int, kPack<decltype(storage)>>{});
    }
    return fn(storage, std::integral_constant<int, 1>{});
  });
}

}  // namespace hn::cuda
