// Convolutions in f32 on FMA units: conv_plain.cuh with voxels gathered on the way in. The math, the shapes and the
// bounds: conv3d.cu and conv3d_backward_weight.cu.
#include "cuda/device/conv_gradient_geometry.cuh"
#include "cuda/device/conv_plain.cuh"

namespace hn::cuda {
namespace {

using P = PlainTile;

// --- forward and the gradient for the input
// -----------------------------------------------------------------------------

/// Chunks of four of K in a row of a tile, and the rows that all threads bring in a turn.
constexpr int kChunks = P::kK / 4, kRows = P::kThreads / kChunks;

/// A[m, (tap, c)].
class VoxelRows {
 public:
  HN_DEVICE VoxelRows(const ConvParams& p, const ConvPlace& place, const int4* rows)
      : p_(p), place_(place), rows_(rows), walk_(p, place, static_cast<int>(threadIdx.x) % kChunks * 4) {
    locate();
  }

  HN_DEVICE void fetch(int) {
    const int channel = walk_.channel();
#pragma unroll
    for (int turn = 0; turn < kTurns; ++turn) {
      held_[turn].load(from_[turn] + channel * p_.source.c, inside_[turn] ? p_.channels - channel : 0, p_.source.c,
                       p_.wide);
    }
  }
  HN_DEVICE void put(PlainOperand<P::kM>& tile) const {
    const int row = static_cast<int>(threadIdx.x) / kChunks, k = static_cast<int>(threadIdx.x) % kChunks * 4;
#pragma unroll
    for (int turn = 0; turn < kTurns; ++turn) held_[turn].put_column(tile, k, row + turn * kRows);
  }

  HN_DEVICE const ConvWalk<P::kK>& walk() const { return walk_; }
  HN_DEVICE void step() {
    if (walk_.step()) locate();
  }

 private:
  HN_DEVICE void locate() {
    const int row = static_cast<int>(threadIdx.x) / kChunks;
#pragma unroll
    for (int turn = 0; turn < kTurns; ++turn) {
      from_[turn] = source_at<float>(p_, place_, walk_, rows_[row + turn * kRows], inside_[turn]);
    }
  }

  static constexpr int kTurns = P::kM / kRows;
  const ConvParams& p_;
  const ConvPlace& place_;
  const int4* rows_;
  ConvWalk<P::kK> walk_;
  const float* from_[kTurns];
  bool inside_[kTurns];
  PlainChunk held_[kTurns];
};

/// B[(tap, c), n], stored [n, tap, c]. Steps on along K, for A too, which is fetched first.
class WeightRows {
 public:
  HN_DEVICE WeightRows(const ConvParams& p, int64_t n0, VoxelRows& voxels) : voxels_(voxels) {
    const int row = static_cast<int>(threadIdx.x) / kChunks;
    from_ = static_cast<const float*>(p.weight) + min(n0 + row, p.out_channels - 1) * p.weight_pitch();
  }
  HN_DEVICE void fetch(int) {
    held_.load(from_ + voxels_.walk().weight_offset(), voxels_.walk().inside() ? 4 : 0, 1, true);
    voxels_.step();
  }
  HN_DEVICE void put(PlainOperand<P::kN>& tile) const {
    held_.put_column(tile, static_cast<int>(threadIdx.x) % kChunks * 4, static_cast<int>(threadIdx.x) / kChunks);
  }

 private:
  static_assert(P::kN == kRows);
  VoxelRows& voxels_;
  const float* from_;
  PlainChunk held_;
};

__global__ void __launch_bounds__(P::kThreads, 1) conv_plain_kernel(const __grid_constant__ ConvParams p) {
  HN_SHARED(int4, rows, [P::kM]);
  const ConvPlace place = ConvPlace::find<P::kM>(p);
  const int64_t m0 = place.tile_m * P::kM, n0 = place.tile_n * P::kN;
  fill_voxels<P::kM, P::kThreads>(place, rows);

  float acc[P::kThreadM][P::kThreadN];
  VoxelRows a(p, place, rows);
  WeightRows b(p, n0, a);
  multiply_plain(a, b, 0, (place.k_size(p.padded_channels) + P::kK - 1) / P::kK, acc);
  store_plain(acc, m0, n0, place.voxels, p.out_channels, ConvEpilogue<float, 4>(p, place, rows, m0));
}

// --- the gradient for the weight
// ----------------------------------------------------------------------------------------

/// A tile of kExtent columns: chunks of four in a row of K, rows in a turn.
template <int kExtent>
struct Across {
  static constexpr int kChunks = kExtent / 4, kRows = P::kThreads / kChunks, kTurns = P::kK / kRows;
  static_assert(kTurns * kRows == P::kK);

  HN_DEVICE static int row() { return static_cast<int>(threadIdx.x) / kChunks; }
  HN_DEVICE static int index() { return static_cast<int>(threadIdx.x) % kChunks * 4; }
};

/// A[m, v] = dy[v, m].
class DyColumns {
  using Deal = Across<P::kM>;

 public:
  HN_DEVICE DyColumns(const ConvGradientParams& p, int64_t m0) : p_(p) {
    const int64_t m = m0 + Deal::index();
    count_ = static_cast<int>(min(max(p.m - m, int64_t{0}), int64_t{4}));
    from_ = static_cast<const float*>(p.dy) + (count_ > 0 ? m : 0);
  }
  HN_DEVICE void fetch(int kb) {
#pragma unroll
    for (int turn = 0; turn < Deal::kTurns; ++turn) {
      const int v = kb * P::kK + Deal::row() + turn * Deal::kRows;
      held_[turn].load(from_ + min(v, p_.voxels - 1) * p_.m, v < p_.voxels ? count_ : 0, 1, p_.wide);
    }
  }
  HN_DEVICE void put(PlainOperand<P::kM>& tile) const {
#pragma unroll
    for (int turn = 0; turn < Deal::kTurns; ++turn) {
      held_[turn].put_row(tile, Deal::row() + turn * Deal::kRows, Deal::index());
    }
  }

 private:
  const ConvGradientParams& p_;
  const float* from_;
  int count_;
  PlainChunk held_[Deal::kTurns];
};

/// B[v, (tap, c)] = x[position(v, tap), c].
class XColumns {
  using Deal = Across<P::kN>;
  static_assert(Deal::kTurns == 1);

 public:
  HN_DEVICE XColumns(const ConvGradientParams& p, int64_t n0) : p_(p), column_(p, n0 + Deal::index()) {}

  HN_DEVICE void fetch(int kb) {
    bool inside;
    const float* const from = column_.at(p_, kb * P::kK + Deal::row(), inside);
    held_.load(from, inside ? p_.channels - column_.channel() : 0, p_.x.c, p_.wide);
  }
  HN_DEVICE void put(PlainOperand<P::kN>& tile) const { held_.put_row(tile, Deal::row(), Deal::index()); }

 private:
  const ConvGradientParams& p_;
  const ConvColumn<float> column_;
  PlainChunk held_;
};

__global__ void __launch_bounds__(P::kThreads, 1)
    conv_gradient_plain_kernel(const __grid_constant__ ConvGradientParams p) {
  const ConvGradientPlace place(p, P::kM, P::kN);
  const int64_t m0 = place.tile_m * P::kM, n0 = place.tile_n * P::kN;
  int begin, end;
  place.range<P::kK>(p, begin, end);

  float acc[P::kThreadM][P::kThreadN];
  DyColumns a(p, m0);
  XColumns b(p, n0);
  multiply_plain(a, b, begin, end, acc);
  store_plain(acc, m0, n0, p.m, static_cast<int64_t>(p.taps()) * p.padded_channels,
              ConvGradientEpilogue<4>(p, place.part));
}

}  // namespace

// --- launchers
// ----------------------------------------------------------------------------------------------------------

Status conv_f32(const Context& ctx, ConvParams& p) {
  const int64_t blocks = deal_blocks(p, P::kM, P::kN);
  return HN_LAUNCH((conv_plain_kernel), blocks, P::kThreads, 0, ctx, p);
}

Status conv_gradient_f32(const Context& ctx, const ConvGradientParams& p) {
  return HN_LAUNCH((conv_gradient_plain_kernel), conv_gradient_blocks(p, P::kM, P::kN), P::kThreads, 0, ctx, p);
}

}  // namespace hn::cuda
