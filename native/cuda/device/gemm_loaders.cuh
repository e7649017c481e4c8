// Loaders for gemm_tile.cuh from matrices in memory: of the type that is multiplied, by cp.async, or of f8e4m3, widened
// on the way through registers.
#pragma once

#include "cuda/device/gemm_tile.cuh"
#include "cuda/device/index.cuh"

namespace hn::cuda {

/// Rows at one pitch, or at one within groups of equal size, in units of bytes that divide all steps: a few 32-bit
/// instructions, no branch, and addresses over 2^31 units.
class RowSteps {
 public:
  RowSteps() = default;
  RowSteps(const RowMap& rows, int64_t count, int64_t element_bytes, int64_t unit) {
    const int inner = rows.rank() - 1;
    fits_ = inner <= 1 && count <= INT32_MAX;
    if (!fits_ || inner < 0) return;
    const int64_t size = rows.size(inner), pitch = rows.stride(inner) * element_bytes;
    const int64_t group_pitch = inner > 0 ? rows.stride(0) * element_bytes : 0;
    const auto reach = [&](int64_t n, int64_t step) { return (n > 0 ? n - 1 : 0) * (step < 0 ? -step : step) / unit; };
    fits_ = pitch % unit == 0 && group_pitch % unit == 0 &&
            reach(size, pitch) + (inner > 0 ? reach(rows.size(0), group_pitch) : 0) <= INT32_MAX;
    if (!fits_) return;
    // Sums that leave 32 bits on the way come back: only what they end at must fit.
    pitch_ = static_cast<uint32_t>(pitch / unit);
    if (inner == 0 || size < 2) return;
    // ⌊n / d⌋ = n · ⌈2^(31 + s) / d⌉ / 2^(31 + s) with s = ⌈log2 d⌉, d > 1. (As Divider, in 32 bits.)
    const auto d = static_cast<uint64_t>(size);
    shift_ = 63 - __builtin_clzll(d - 1);
    factor_ = static_cast<uint32_t>(((uint64_t{1} << (32 + shift_)) + d - 1) / d);
    jump_ = static_cast<uint32_t>((group_pitch - size * pitch) / unit);
  }

  bool fits() const { return fits_; }

  /// The address of `row` where row 0 begins at `first`; kUnit is what the steps were made with.
  template <int kUnit, class T>
  HN_DEVICE const T* at(const T* first, int row) const {
    const uint32_t group = __umulhi(static_cast<uint32_t>(row), factor_) >> shift_;
    const int32_t units = static_cast<int32_t>(static_cast<uint32_t>(row) * pitch_ + group * jump_);
    return first + static_cast<int64_t>(units) * (kUnit / static_cast<int>(sizeof(T)));
  }

 private:
  bool fits_ = true;
  int32_t shift_ = 0;
  uint32_t factor_ = 0, pitch_ = 0, jump_ = 0;
};

/// An operand as it lies in memory, made on the host: `rows` says where row r begins, neighbours in a row are `step`
/// apart, matrix b of a batch begins at batch(b). In elements.
struct Matrix {
  const void* data = nullptr;
  DType dtype = DType::f32;
  RowMap rows, batch;
  int64_t step = 1;
  /// Bytes to which every place that a multiple of 16 bytes into a row is aligned: 16, 8, 4, or less where single
  /// elements must be read.
  int alignment = 0;
  /// The rows once more, for loaders of aligned rows.
  static constexpr int kUnit = 8;
  RowSteps steps;
};

/// Which part of the operand a block multiplies: indices from mn0 on, of mn_size; K in all.
struct Extent {
  int64_t mn0, mn_size;
  int k_size;
};

/// How many of the eight elements of a chunk are there, of `left` from its first on.
template <class Int>
HN_DEVICE int chunk_count(Int left) {
  return static_cast<int>(min(max(left, Int{0}), Int{8}));
}

/// Elements of T as they are. With kWide rows are aligned to 16 bytes, of whole packs of eight and, where they are
/// indices of K, at steps that fit; without, anything goes.
template <class T, class C, int kExtent, Major kMajor_, bool kWide>
class MatrixLoader {
  using Tile = SharedTile<kExtent, C::kK, kMajor_>;
  static constexpr int kTurns = Tile::template kTurns<C::kThreads>;

 public:
  static constexpr Major kMajor = kMajor_;
  static constexpr bool kAnyBlock = kWide;
  static constexpr bool kTakesFactors = false;

  HN_DEVICE MatrixLoader(const Matrix& m, int64_t batch, const Extent& extent) : m_(m), k_size_(extent.k_size) {
    const T* const base = static_cast<const T*>(m.data) + m.batch(batch);
    Tile::template each<C::kThreads>([&](int turn, int row, int chunk) {
      if constexpr (kMajor == Major::k) {
        // Rows beyond the last repeat it: they reach only sums that are dropped.
        const int64_t index = min(extent.mn0 + row, extent.mn_size - 1);
        from_[turn] = base + m_.rows(index) + chunk * 8 * step();
      } else if (turn == 0) {
        const int64_t index = extent.mn0 + chunk * 8;
        count_ = chunk_count(extent.mn_size - index);
        from_[0] = base + index * step();
      }
    });
  }

  HN_DEVICE void fetch(int kb, T* tile) {
    Tile::template each<C::kThreads>([&](int turn, int row, int chunk) {
      const int k0 = kb * C::kK;
      T* const to = tile + Tile::at(row, chunk);
      if constexpr (kMajor == Major::k) {
        copy(to, from_[turn] + k0 * step(), chunk_count(k_size_ - k0 - chunk * 8));
      } else {
        const int k = k0 + row;
        copy(to, row_at(k), k < k_size_ ? count_ : 0);
      }
    });
  }
  HN_DEVICE void put(T*) {}

 private:
  HN_DEVICE int64_t step() const { return kWide ? 1 : m_.step; }
  HN_DEVICE const T* row_at(int k) const {
    return kWide ? m_.steps.template at<Matrix::kUnit>(from_[0], k) : from_[0] + m_.rows(k);
  }

  /// `count` elements of a chunk, zeros for the rest.
  HN_DEVICE void copy(T* to, const T* from, int count) const {
    if constexpr (kWide) {
      // Of a chunk that is not there nothing is read, wherever its address points (ptx_async.cuh says why it may):
      // beyond the end of a row in the last block of K, or beyond the last row.
      ptx::cp_async<16>(ptx::smem_u32(to), from, count > 0 ? 16 : 0);
    } else if (m_.alignment >= 16) {
      copy_pieces<16>(to, from, count);
    } else if (m_.alignment >= 8) {
      copy_pieces<8>(to, from, count);
    } else if (m_.alignment >= 4) {
      copy_pieces<4>(to, from, count);
    } else {
      Pack<T, 8> pack;
#pragma unroll
      for (int i = 0; i < 8; ++i) pack.items[i] = i < count ? from[i * m_.step] : T{};
      *reinterpret_cast<Pack<T, 8>*>(to) = pack;
    }
  }
  template <int kBytes>
  HN_DEVICE void copy_pieces(T* to, const T* from, int count) const {
    constexpr int kItems = kBytes / 2;
#pragma unroll
    for (int i = 0; i < 8; i += kItems) {
      const int items = kItems == 8 ? count : min(max(count - i, 0), kItems);
      ptx::cp_async<kBytes>(ptx::smem_u32(to + i), from + i, items * 2);
    }
  }

  const Matrix& m_;
  const T* from_[kMajor_ == Major::k ? kTurns : 1];
  int k_size_;
  int count_ = 0;  // of this thread's chunk, inside M or N
};

/// f8e4m3 as T; rows are aligned to 8 bytes, of whole packs of eight and, where they are indices of K, at steps that
/// fit. Then row k is multiplied by factors[k] first, if there are any (a weight's scale by rows, in the gradient of
/// its input), and the product is rounded to T.
template <class T, class C, int kExtent, Major kMajor_>
class F8Loader {
  using Tile = SharedTile<kExtent, C::kK, kMajor_>;
  static constexpr int kTurns = Tile::template kTurns<C::kThreads>;

 public:
  static constexpr Major kMajor = kMajor_;
  static constexpr bool kAnyBlock = true;
  static constexpr bool kTakesFactors = true;

  HN_DEVICE F8Loader(const Matrix& m, int64_t batch, const Extent& extent, const float* factors)
      : m_(m), factors_(factors), k_size_(extent.k_size) {
    const uint8_t* const base = static_cast<const uint8_t*>(m.data) + m.batch(batch);
    Tile::template each<C::kThreads>([&](int turn, int row, int chunk) {
      if constexpr (kMajor == Major::k) {
        from_[turn] = base + m_.rows(min(extent.mn0 + row, extent.mn_size - 1)) + chunk * 8;
      } else if (turn == 0) {
        inside_ = extent.mn0 + chunk * 8 < extent.mn_size;
        from_[0] = base + extent.mn0 + chunk * 8;
      }
    });
  }

  HN_DEVICE void fetch(int kb, T*) {
    Tile::template each<C::kThreads>([&](int turn, int row, int chunk) {
      const int k0 = kb * C::kK;
      held_[turn] = make_uint2(0, 0);
      if constexpr (kMajor == Major::k) {
        if (k0 + chunk * 8 < k_size_) held_[turn] = *reinterpret_cast<const uint2*>(from_[turn] + k0);
      } else {
        const int k = k0 + row;
        if (k < k_size_ && inside_)
          held_[turn] = *reinterpret_cast<const uint2*>(m_.steps.template at<Matrix::kUnit>(from_[0], k));
        factor_[turn] = factors_ != nullptr && k < k_size_ ? factors_[k] : 1.0f;
      }
    });
  }

  HN_DEVICE void put(T* tile) {
    Tile::template each<C::kThreads>([&](int turn, int row, int chunk) {
      Pack<T, 8> pack;
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const uint32_t word = i < 4 ? held_[turn].x : held_[turn].y;
        float v = widen(f8e4m3{static_cast<uint8_t>(word >> i % 4 * 8)});
        if constexpr (kMajor == Major::mn) v *= factor_[turn];
        pack.items[i] = narrow<T>(v);
      }
      *reinterpret_cast<Pack<T, 8>*>(tile + Tile::at(row, chunk)) = pack;
    });
  }

 private:
  const Matrix& m_;
  const uint8_t* from_[kMajor_ == Major::k ? kTurns : 1];
  const float* factors_;
  int k_size_;
  bool inside_ = true;
  uint2 held_[kTurns];
  float factor_[kMajor_ == Major::mn ? kTurns : 1];
};

}  // namespace hn::cuda
