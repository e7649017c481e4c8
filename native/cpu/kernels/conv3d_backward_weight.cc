// Gradient of conv3d for its weight:
//   dw[co, tap, ci] = sum over voxels v of dy[v, co] * x[gathered(v, tap), ci]
// dw is a product of M = Cout, N = taps * Cin, K = voxels. K is the long side, so it is walked in stretches of blocks:
//   1. the stretch of dy is transposed into blocks [Cout][voxels of a block], shared by all tasks
//   2. a task takes a group of columns and some of the blocks: it gathers a block of rows (conv3d_taps.h), 4 panels
//   wide,
//      multiplies, and adds its sums to its share of dw
// Where columns are few (small Cin) the blocks of a stretch are dealt to several shares, added in order at the end:
// which blocks belong to which share depends on the shape alone.
#include "core/generated/conv3d.h"
#include "cpu/context.h"
#include "cpu/kernels/conv3d_taps.h"
#include "cpu/kernels/dispatch.h"
#include "cpu/kernels/gemm_micro.h"
#include "cpu/kernels/rows.h"
#include "cpu/kernels/scratch.h"
#include "cpu/kernels/shares.h"
#include "cpu/kernels/transpose.h"

namespace hn::cpu::HN_ISA {
namespace {

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

template <class Acc>
class WeightGradient {
 public:
  WeightGradient(const TapRows<Acc>& taps, const TensorView& dy)
      : taps_(taps), dy_(dy), channels_(dy.dim(4)), columns_(taps.columns()), voxels_(taps.rows()) {
    groups_ = ceil_div(columns_, kGroup);
    blocks_ = ceil_div(voxels_, kBlock);
    shares_ = larger(1, smaller(smaller(kEnoughTasks / larger(groups_, 1), kMostShares), blocks_));
    stretch_ = ceil_div(kStretch, shares_) * shares_;
  }

  Status run(const Context& ctx, const TensorView& dweight) const {
    const int64_t size = channels_ * columns_;
    Acc* sums = ctx.workspace<Acc>(larger(1, shares_ * size));
    Acc* transposed = ctx.workspace<Acc>(larger(1, smaller(stretch_, blocks_) * channels_ * kLdA));
    const Scratch<Acc> scratch(ctx, kBlock * kGroup + channels_ * kLdC);
    if (sums == nullptr || transposed == nullptr || !scratch.ok()) return Status::no_memory();
    std::memset(sums, 0, static_cast<size_t>(shares_ * size) * sizeof(Acc));
    for (int64_t first = 0; first < blocks_; first += stretch_) {
      const int64_t count = smaller(stretch_, blocks_ - first);
      ctx.parallel_for(count * ceil_div(channels_, kStrip), [&](int64_t task) {
        transpose_strip(first + task % count, task / count * kStrip, transposed + task % count * channels_ * kLdA);
      });
      ctx.parallel_for(groups_ * shares_, [&](int64_t task) {
        const typename Scratch<Acc>::Lease lease(scratch);
        const int64_t share = task % shares_, group = task / shares_;
        add_blocks(lease.data(), transposed, first, count, share, group * kGroup, sums + share * size);
      });
    }
    ctx.parallel_for(channels_, [&](int64_t c) { finish_row(sums, c, dweight); });
    return {};
  }

 private:
  static constexpr int64_t kBlock = 2048 / sizeof(Acc);  // voxels
  static constexpr int kLdA = static_cast<int>(kBlock) + 64 / static_cast<int>(sizeof(Acc));
  static constexpr int64_t kGroup = 4 * NR<Acc>;  // columns of a task
  static constexpr int64_t kLdC = kGroup + 64 / static_cast<int64_t>(sizeof(Acc));
  static constexpr int64_t kStrip = 64;   // channels that are transposed at once
  static constexpr int64_t kStretch = 8;  // blocks, at least
  static constexpr int64_t kEnoughTasks = 64;
  static constexpr int64_t kMostShares = 16;

  int64_t block_voxels(int64_t block) const { return smaller(kBlock, voxels_ - block * kBlock); }

  /// dst[co][voxel] for `kStrip` channels from c0 of one block of dy.
  void transpose_strip(int64_t block, int64_t c0, Acc* dst) const {
    constexpr int64_t kSide = kStrip;
    Acc square[kSide * kSide];
    const LoadRow<Acc> load = load_row<Acc>(dy_.dtype);
    const int64_t count = block_voxels(block), width = smaller(kStrip, channels_ - c0);
    for (int64_t v = 0; v < count; v += kSide) {
      const int64_t height = smaller(kSide, count - v);
      for (int64_t i = 0; i < height; ++i)
        load(dy_.at((block * kBlock + v + i) * channels_ + c0), 1, width, square + i * kSide);
      transpose_block<Acc>(square, kSide, dst + c0 * kLdA + v, kLdA, width, height);
    }
  }

  /// Adds the products of this share's blocks to columns [n0, n0 + kGroup) of `sums`.
  void add_blocks(Acc* scratch, const Acc* transposed, int64_t first, int64_t count, int64_t share, int64_t n0,
                  Acc* sums) const {
    Acc *const panels = scratch, *const tile = scratch + kBlock * kGroup;
    const int64_t n_count = smaller(kGroup, columns_ - n0);
    // Blocks are dealt round: share s has those with index s modulo the number of shares, whatever the stretch.
    bool begun = false;
    for (int64_t i = share; i < count; i += shares_) {
      gather_panels(first + i, n0, n_count, panels);
      multiply(transposed + i * channels_ * kLdA, panels, block_voxels(first + i), ceil_div(n_count, NR<Acc>), tile,
               begun);
      begun = true;
    }
    if (!begun) return;
    for (int64_t c = 0; c < channels_; ++c) {
      Acc* sum = sums + c * columns_ + n0;
      for (int64_t j = 0; j < n_count; ++j) sum[j] += tile[c * kLdC + j];
    }
  }

  /// Panels [voxel][NR] of the gathered rows of a block, kBlock * NR apart; zeros beyond n_count.
  void gather_panels(int64_t block, int64_t n0, int64_t n_count, Acc* panels) const {
    const int64_t count = block_voxels(block);
    for (int64_t n = 0; n < n_count; n += NR<Acc>) {
      const int64_t width = smaller(NR<Acc>, n_count - n);
      const typename TapRows<Acc>::Columns columns(taps_, n0 + n, width);
      Acc* dst = panels + n * kBlock;
      Voxel v = taps_.voxel(block * kBlock);
      for (int64_t i = 0; i < count; ++i, taps_.advance(v), dst += NR<Acc>) {
        taps_.gather(v, columns, dst);
        for (int64_t j = width; j < NR<Acc>; ++j) dst[j] = 0;
      }
    }
  }

  /// tile[co][columns] = (accumulate ? tile : 0) + a[co][voxel] panels[voxel][columns].
  void multiply(const Acc* a, const Acc* panels, int64_t voxels, int64_t panel_count, Acc* tile,
                bool accumulate) const {
    for (int64_t c = 0; c < channels_; c += MR<Acc>) {
      const int rows = static_cast<int>(smaller(MR<Acc>, channels_ - c));
      for (int64_t p = 0; p < panel_count; ++p)
        micro_rows<Acc, kLdA>(rows, a + c * kLdA, panels + p * kBlock * NR<Acc>, voxels, tile + c * kLdC + p * NR<Acc>,
                              kLdC, accumulate);
    }
  }

  /// Adds the shares of row co in order and stores it.
  void finish_row(Acc* sums, int64_t c, const TensorView& dweight) const {
    Acc* row = sums + c * columns_;
    for (int64_t s = 1; s < shares_; ++s) {
      const Acc* share = row + s * channels_ * columns_;
      for (int64_t j = 0; j < columns_; ++j) row[j] += share[j];
    }
    store_row<Acc>(dweight.dtype)(dweight.at(c * columns_), 1, columns_, row);
  }

  const TapRows<Acc>& taps_;
  const TensorView dy_;
  int64_t channels_, columns_, voxels_;
  int64_t groups_, blocks_, shares_, stretch_;
};

template <class Acc>
Status weight_gradient(const Context& ctx, const Conv3dBackwardWeightArgs& a) {
  if (a.dweight.elements() == 0) return {};
  const TensorView dy = with_frames(a.dy), x = with_frames(a.x), dweight = with_frames(a.dweight);
  const bool replicate = a.pad_mode == Conv3dBackwardWeightArgs::PadMode::replicate;
  TapAxis axes[3];
  for (int i = 0; i < 3; ++i) {
    const int64_t size = x.dim(i + 1), stride = a.stride[i], before = a.before[i];
    const auto span_of = [=](int64_t position, int64_t tap) -> Span {
      return forward_span(position, tap, size, stride, before, replicate);
    };
    if (!axes[i].fill(ctx, dy.dim(i + 1), dweight.dim(i + 1), span_of)) return Status::no_memory();
  }
  const TapRows<Acc> taps(ctx, x, axes);
  if (!taps.ok()) return Status::no_memory();
  return WeightGradient<Acc>(taps, dy).run(ctx, a.dweight);
}

}  // namespace

Status conv3d_backward_weight(const Context& ctx, const Conv3dBackwardWeightArgs& a) {
  return with_float_acc(a.x.dtype, [&](auto acc) { return weight_gradient<decltype(acc)>(ctx, a); });
}

}  // namespace hn::cpu::HN_ISA
