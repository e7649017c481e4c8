// The matrix that a convolution multiplies by, never stored: one row a voxel of a grid [B, T, H, W], one column a
// (tap in t, h, w; channel) of the source [B, T, H, W, C]. Rows are made where they are needed, by copies of channel
// runs.
//
// What a voxel reads through a tap is, along each axis, a span of source positions:
//   one position     the usual case, and replicate padding (the index clamped)
//   none             zero padding, or a place the convolution does not reach: zeros
//   several          their sum: in the gradient for the input, an edge voxel gathers what the rim copied from it
//   received
#pragma once

#include <cstring>

#include "core/tensor_view.h"
#include "cpu/context.h"
#include "cpu/kernels/convert.h"
#include "cpu/kernels/simd.h"

namespace hn::cpu::HN_ISA {

/// Source positions [first, first + count) along one axis.
struct Span {
  int64_t first = 0, count = 0;
};

/// The input that output `position` of a convolution reads through `tap`.
inline Span forward_span(int64_t position, int64_t tap, int64_t size, int64_t stride, int64_t before, bool replicate) {
  const int64_t at = position * stride + tap - before;
  if (at >= 0 && at < size) return {at, 1};
  if (!replicate || size == 0) return {};
  return {at < 0 ? 0 : size - 1, 1};
}

/// What each position of the grid reads through each tap, along one axis.
struct TapAxis {
  int64_t positions = 0, taps = 0;
  Span* spans = nullptr;  // [positions][taps]

  const Span& at(int64_t position, int64_t tap) const { return spans[position * taps + tap]; }

  /// Fills the table from span_of(position, tap); false when there is no memory.
  template <class SpanOf>
  bool fill(const Context& ctx, int64_t position_count, int64_t tap_count, const SpanOf& span_of) {
    positions = position_count;
    taps = tap_count;
    spans = ctx.template workspace<Span>(positions * taps + 1);
    if (spans == nullptr) return false;
    for (int64_t p = 0; p < positions; ++p)
      for (int64_t j = 0; j < taps; ++j) spans[p * taps + j] = span_of(p, j);
    return true;
  }
};

/// A voxel of the grid.
struct Voxel {
  int64_t b = 0, t = 0, h = 0, w = 0;
};

template <class Acc>
class TapRows {
 public:
  /// `source` is [B, T, H, W, C]; the axes are t, h, w. Check ok() before use.
  TapRows(const Context& ctx, const TensorView& source, const TapAxis (&axes)[3])
      : source_(source),
        channels_(source.dim(4)),
        line_(axes[2].taps * channels_),
        direct_(source.dtype == kAccType<Acc>),
        load_(load_row<Acc>(source.dtype)) {
    for (int i = 0; i < 3; ++i) axes_[i] = axes[i];
    runs_ = ctx.template workspace<int64_t>(axes[2].positions + 1);
    if (runs_ == nullptr) return;
    for (int64_t p = 0; p < axes[2].positions; ++p) runs_[p] = run_of(p);
  }
  bool ok() const { return runs_ != nullptr; }

  int64_t rows() const { return source_.dim(0) * axes_[0].positions * axes_[1].positions * axes_[2].positions; }
  int64_t columns() const { return axes_[0].taps * axes_[1].taps * line_; }

  Voxel voxel(int64_t row) const {
    Voxel v;
    v.w = row % axes_[2].positions, row /= axes_[2].positions;
    v.h = row % axes_[1].positions, row /= axes_[1].positions;
    v.t = row % axes_[0].positions, v.b = row / axes_[0].positions;
    return v;
  }
  void advance(Voxel& v) const {
    if (++v.w < axes_[2].positions) return;
    v.w = 0;
    if (++v.h < axes_[1].positions) return;
    v.h = 0;
    if (++v.t < axes_[0].positions) return;
    v.t = 0;
    ++v.b;
  }

  /// A range of columns, cut once for many rows: each piece lies within one (tap in t, tap in h).
  class Columns {
   public:
    static constexpr int64_t kMost = 512;

    /// At most kMost columns from k0.
    Columns(const TapRows& rows, int64_t k0, int64_t count) {
      for (const int64_t end = k0 + count; k0 < end; ++count_) {
        const int64_t line = k0 / rows.line_, begin = k0 % rows.line_;
        const int64_t length = rows.line_ - begin < end - k0 ? rows.line_ - begin : end - k0;
        pieces_[count_] = {static_cast<int32_t>(line / rows.axes_[1].taps),
                           static_cast<int32_t>(line % rows.axes_[1].taps), begin, length};
        k0 += length;
      }
    }

   private:
    friend TapRows;
    struct Piece {
      int32_t tap_t, tap_h;
      int64_t begin, length;  // columns of the line
    };
    Piece pieces_[kMost];
    int count_ = 0;
  };

  void gather(const Voxel& v, const Columns& columns, Acc* dst) const {
    const int64_t run = runs_[v.w];
    for (int i = 0; i < columns.count_; ++i) {
      const typename Columns::Piece& piece = columns.pieces_[i];
      const Span &t = axes_[0].at(v.t, piece.tap_t), &h = axes_[1].at(v.h, piece.tap_h);
      if (run >= 0 && t.count == 1 && h.count == 1) {
        copy(offset(v.b, t.first, h.first) + run + piece.begin, piece.length, dst);
      } else {
        gather_taps(v, t, h, piece.begin, piece.length, dst);
      }
      dst += piece.length;
    }
  }

 private:
  int64_t offset(int64_t b, int64_t t, int64_t h) const {
    return b * source_.strides[0] + t * source_.strides[1] + h * source_.strides[2];
  }

  /// Offset along w where the taps of position p lie one after another in memory, or -1.
  int64_t run_of(int64_t p) const {
    const TapAxis& w = axes_[2];
    if (w.taps > 1 && source_.strides[3] != channels_) return -1;
    for (int64_t j = 0; j < w.taps; ++j)
      if (w.at(p, j).count != 1 || w.at(p, j).first != w.at(p, 0).first + j) return -1;
    return w.taps > 0 ? w.at(p, 0).first * source_.strides[3] : -1;
  }

  /// Columns [begin, begin + length) of a line, tap by tap: at edges.
  [[gnu::noinline]] void gather_taps(const Voxel& v, const Span& t, const Span& h, int64_t begin, int64_t length,
                                     Acc* dst) const {
    for (int64_t done = 0; done < length;) {
      const int64_t tap = (begin + done) / channels_, channel = (begin + done) % channels_;
      const int64_t n = channels_ - channel < length - done ? channels_ - channel : length - done;
      sum_box(v.b, t, h, axes_[2].at(v.w, tap), channel, n, dst + done);
      done += n;
    }
  }

  void sum_box(int64_t b, const Span& t, const Span& h, const Span& w, int64_t channel, int64_t n, Acc* dst) const {
    if (t.count * h.count * w.count == 0) {
      std::memset(dst, 0, static_cast<size_t>(n) * sizeof(Acc));
      return;
    }
    bool first = true;
    for (int64_t i = t.first; i < t.first + t.count; ++i)
      for (int64_t j = h.first; j < h.first + h.count; ++j)
        for (int64_t k = w.first; k < w.first + w.count; ++k) {
          const int64_t at = offset(b, i, j) + k * source_.strides[3] + channel;
          first ? copy(at, n, dst) : add(at, n, dst);
          first = false;
        }
  }

  void copy(int64_t at, int64_t n, Acc* dst) const {
    if (!direct_) return load_(source_.at(at), 1, n, dst);
    // By hand: runs are short, and a call of memcpy for each costs as much as the copy.
    const Acc* src = source_.as<Acc>() + at;
    int64_t i = 0;
    for (; i + kLanes<Acc> <= n; i += kLanes<Acc>) store<Acc>(dst + i, HN_ISA::load<Acc>(src + i));
    for (; i < n; ++i) dst[i] = src[i];
  }

  void add(int64_t at, int64_t n, Acc* dst) const {
    constexpr int64_t kBlock = 64;
    Acc block[kBlock];
    for (int64_t i = 0; i < n; i += kBlock) {
      const int64_t count = n - i < kBlock ? n - i : kBlock;
      load_(source_.at(at + i), 1, count, block);
      for (int64_t j = 0; j < count; ++j) dst[i + j] += block[j];
    }
  }

  TensorView source_;
  TapAxis axes_[3];
  int64_t channels_, line_;
  bool direct_;
  LoadRow<Acc> load_;
  int64_t* runs_ = nullptr;  // [positions along w]
};

}  // namespace hn::cpu::HN_ISA
