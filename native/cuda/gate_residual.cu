// The gated residual of a transformer block: out = x + y · gate, rows of C elements.
//   dx = dout (no kernel);  dy = dout · gate;  dgate = Σ dout · y over the rows that share a row of gate
//
// x, y, out, dout, dy [..., C] of any strides, f32, bf16 or f16; gate of any float type and any strides, with a row for
// each group of consecutive rows ([B, C] beside [B, S, C]) or for each row; dgate of gate's type. Sums are f32.
// Bytes: 3 · size(x) forward; the same backward. FLOPs: 2 and 3 an element. Bound by memory: [1, 118800, 3072] in bf16
// moves 2.2 GB; the gate stays in cache.
//
// A thread takes one pack of columns of several rows: loads of four rows are under way at a time. Backward it walks a
// chunk of rows and keeps their sum; the shares of chunks are added afterwards (shares.cuh).
#include "core/generated/norm.h"
#include "cuda/device/any_rows.cuh"
#include "cuda/device/rows.cuh"
#include "cuda/device/shares.cuh"
#include "cuda/support.h"

namespace hn::cuda {
namespace {

constexpr int kThreads = 128;
/// Rows that a thread loads before it uses any.
constexpr int kBatch = 4;

/// Blocks are dealt out tile by tile of columns, kThreads packs wide, then by chunks of rows.
template <int kPackSize>
struct Place {
  int64_t chunk = blockIdx.x;
  int64_t column;
  HN_DEVICE explicit Place(const Divider& tiles)
      : column((tiles.split(chunk) * kThreads + static_cast<int64_t>(threadIdx.x)) * kPackSize) {}
};

int64_t tiles_of(int64_t width, int pack) { return ceil_div(width, static_cast<int64_t>(pack) * kThreads); }

template <class T, int kPackSize>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(Rows<T> x, Rows<T> y, AnyRows gates, Divider group_rows, Rows<T> out, RowChunks chunks,
                   Divider tiles, int64_t width) {
  const Place<kPackSize> at(tiles);
  if (at.column >= width) return;
  const RowSpan span = chunks.span(at.chunk);
  float v[kBatch][kPackSize], f[kBatch][kPackSize];
  for (int64_t row = span.begin; row < span.end; row += kBatch) {
#pragma unroll
    for (int u = 0; u < kBatch; ++u) {
      if (row + u >= span.end) continue;
      x.load(x.row(row + u), at.column, v[u]);
      y.load(y.row(row + u), at.column, f[u]);
    }
#pragma unroll
    for (int u = 0; u < kBatch; ++u) {
      if (row + u >= span.end) continue;
      float gate[kPackSize];
      gates.row(group_rows.quotient(row + u)).load(at.column, gate);
#pragma unroll
      for (int k = 0; k < kPackSize; ++k) v[u][k] += f[u][k] * gate[k];
      out.store(out.row(row + u), at.column, v[u]);
    }
  }
}

/// What is wanted has data. With by_row each row has a gate of its own and gets its gradient at once; else `shares`,
/// [chunks, C] in f32, gets what a chunk adds up to.
template <class T>
struct Gradients {
  Rows<T> dy;
  bool want_y, by_row;
  AnyOut dgate;
  float* shares;
};

template <class T, int kPackSize>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(Rows<T> dout, Rows<T> y, bool has_y, AnyRows gates, Gradients<T> to, RowChunks chunks,
                    Divider tiles, int64_t width) {
  const Place<kPackSize> at(tiles);
  if (at.column >= width) return;
  const RowSpan span = chunks.span(at.chunk);
  float g[kBatch][kPackSize], v[kBatch][kPackSize], sum[kPackSize] = {};
  for (int64_t row = span.begin; row < span.end; row += kBatch) {
#pragma unroll
    for (int u = 0; u < kBatch; ++u) {
      if (row + u >= span.end) continue;
      dout.load(dout.row(row + u), at.column, g[u]);
      if (has_y) y.load(y.row(row + u), at.column, v[u]);
    }
#pragma unroll
    for (int u = 0; u < kBatch; ++u) {
      if (row + u >= span.end) continue;
      if (has_y) {
#pragma unroll
        for (int k = 0; k < kPackSize; ++k) {
          v[u][k] *= g[u][k];
          sum[k] += v[u][k];
        }
        if (to.by_row) store_any(to.dgate, (row + u) * width + at.column, v[u]);
      }
      if (!to.want_y) continue;
      float gate[kPackSize];
      gates.row(to.by_row ? row + u : span.group).load(at.column, gate);
#pragma unroll
      for (int k = 0; k < kPackSize; ++k) gate[k] *= g[u][k];
      to.dy.store(to.dy.row(row + u), at.column, gate);
    }
  }
  if (to.shares == nullptr) return;
#pragma unroll
  for (int k = 0; k < kPackSize; ++k) to.shares[at.chunk * width + at.column + k] = sum[k];
}

}  // namespace

// --- launchers -----------------------------------------------------------------------------------------------------

HN_SUPPORTS(gate_residual, kFloats);
HN_SUPPORTS(gate_residual_backward, kFloats);

Status gate_residual(const Context& ctx, const GateResidualArgs& a) {
  const int64_t rows = a.x.rows(), width = a.x.dim(-1);
  if (a.y.dtype != a.x.dtype) return Status::missing("gate_residual: y is of another type than x");
  if (rows == 0 || width == 0) return {};
  const RowChunks chunks(1, rows, kBatch, rows);
  return with_packs(
      [&](auto storage, auto pack) {
        using T = decltype(storage);
        const int64_t tiles = tiles_of(width, pack());
        return HN_LAUNCH((forward_kernel<T, pack()>), chunks.count() * tiles, kThreads, 0, ctx, Rows<T>(a.x),
                         Rows<T>(a.y), AnyRows(a.gate), Divider(rows / a.gate.rows()), Rows<T>(a.out), chunks,
                         Divider(tiles), width);
      },
      a.x, a.y, a.gate, a.out);
}

Status gate_residual_backward(const Context& ctx, const GateResidualBackwardArgs& a) {
  const int64_t rows = a.dout.rows(), width = a.dout.dim(-1), modulated = a.gate.rows();
  if (a.y && a.y.dtype != a.dout.dtype)
    return Status::missing("gate_residual_backward: y is of another type than dout");
  const bool by_row = rows == modulated, sums = a.dgate && !by_row;
  const int64_t groups = by_row || modulated == 0 ? 1 : modulated;
  const RowChunks chunks(groups, rows / groups, 2 * kBatch, sums ? RowChunks::kMost : rows);
  float* shares = nullptr;
  if (sums && (shares = ctx.workspace<float>(chunks.count() * width)) == nullptr) return Status::no_memory();
  HN_RETURN_IF_ERROR(with_packs(
      [&](auto storage, auto pack) {
        using T = decltype(storage);
        const int64_t tiles = tiles_of(width, pack());
        const Gradients<T> to{Rows<T>(a.dy), static_cast<bool>(a.dy), by_row, AnyOut(a.dgate), shares};
        return HN_LAUNCH((backward_kernel<T, pack()>), chunks.count() * tiles, kThreads, 0, ctx, Rows<T>(a.dout),
                         Rows<T>(a.y), a.dgate && a.y, AnyRows(a.gate), to, chunks, Divider(tiles), width);
      },
      a.dout, a.y, a.gate, a.dy, a.dgate));
  if (!sums) return {};
  return add_shares(ctx, shares, groups, chunks.per_group(), width, width, AnyOut(a.dgate));
}

}  // namespace hn::cuda
