// Changing the size of [B, T, H, W, C].
//
// upsample_nearest: y[t, h, w] = x[frame(t), h / fh, w / fw]; with first_frame, frame(0) = 0 and frame(t) = 1 + (t - 1)
// / ft
//   (HunyuanVideo's first frame is not doubled in time). Backward: each x sums the dy of its copies.
// resize_bilinear: y[h, w] = sum over i, j of wh[h, i] ww[w, j] x[i, j], rows first, then columns. The weights of one
// axis
//   are a table of short spans; the transposed tables give the gradient by the same loop.
// Bound by memory.
#include "core/generated/resample.h"
#include "cpu/context.h"
#include "cpu/kernels/conv3d_taps.h"
#include "cpu/kernels/dispatch.h"
#include "cpu/kernels/rows.h"
#include "cpu/kernels/scratch.h"

namespace hn::cpu::HN_ISA {
namespace {

// --- nearest
// ------------------------------------------------------------------------------------------------------------

struct Upsampling {
  int64_t frames, height, width;  // of the small side
  int64_t ft, fh, fw;
  bool first_frame;

  Upsampling(const TensorView& small, const IntList& factors, bool first)
      : frames(small.dim(1)),
        height(small.dim(2)),
        width(small.dim(3)),
        ft(factors[0]),
        fh(factors[1]),
        fw(factors[2]),
        first_frame(first) {}
  int64_t big_frames() const { return frames == 0 ? 0 : first_frame ? 1 + (frames - 1) * ft : frames * ft; }
  int64_t source_frame(int64_t t) const { return !first_frame ? t / ft : t == 0 ? 0 : 1 + (t - 1) / ft; }
  /// The big frames that copy small frame t.
  int64_t first_copy(int64_t t) const { return !first_frame ? t * ft : t == 0 ? 0 : 1 + (t - 1) * ft; }
  int64_t copies(int64_t t) const { return first_frame && t == 0 ? 1 : ft; }
};

/// Copies bytes, so one function serves every type.
Status upsample(const Context& ctx, const UpsampleNearestArgs& a) {
  if (a.y.elements() == 0) return {};
  const TensorView x = a.x, y = a.y;
  const Upsampling up(x, a.factors, a.first_frame);
  const int64_t element = info(x.dtype).block_bytes, row_bytes = x.dim(4) * element;
  const int64_t lines = x.dim(0) * up.big_frames() * up.height;  // of y, fh at a time: they are equal
  const int64_t chunk = rows_per_chunk(up.fh * up.fw * up.width * x.dim(4));
  ctx.parallel_for(ceil_div(lines, chunk), [&](int64_t c) {
    for (int64_t line = c * chunk; line < lines && line < (c + 1) * chunk; ++line) {
      const int64_t h = line % up.height, t = line / up.height % up.big_frames(),
                    b = line / up.height / up.big_frames();
      const char* from =
          static_cast<const char*>(x.at(b * x.strides[0] + up.source_frame(t) * x.strides[1] + h * x.strides[2]));
      char* const first = static_cast<char*>(y.at(b * y.strides[0] + t * y.strides[1] + h * up.fh * y.strides[2]));
      for (int64_t i = 0; i < up.fh; ++i) {
        char* to = first + i * y.strides[2] * element;
        for (int64_t w = 0; w < up.width * up.fw; ++w, to += y.strides[3] * element)
          std::memcpy(to, from + w / up.fw * x.strides[3] * element, static_cast<size_t>(row_bytes));
      }
    }
  });
  return {};
}

template <class Acc>
Status upsample_gradient(const Context& ctx, const UpsampleNearestBackwardArgs& a) {
  if (a.dx.elements() == 0) return {};
  const TensorView small = a.dx, big = a.dy;
  const Upsampling up(small, a.factors, a.first_frame);
  const Rows<Acc> dx(small), dy(big);
  const int64_t channels = dx.width(), lines = small.dim(0) * up.frames * up.height;
  const Scratch<Acc> scratch(ctx, 2 * channels);
  if (!scratch.ok()) return Status::no_memory();
  const int64_t chunk = rows_per_chunk(up.fh * up.fw * up.width * channels);
  ctx.parallel_for(ceil_div(lines, chunk), [&](int64_t c) {
    const typename Scratch<Acc>::Lease lease(scratch);
    for (int64_t line = c * chunk; line < lines && line < (c + 1) * chunk; ++line) {
      const int64_t h = line % up.height, t = line / up.height % up.frames, b = line / up.height / up.frames;
      for (int64_t w = 0; w < up.width; ++w) {
        Acc* sum = dx.open(line * up.width + w, lease.data());
        for (int64_t i = 0; i < channels; ++i) sum[i] = 0;
        for (int64_t s = up.first_copy(t); s < up.first_copy(t) + up.copies(t); ++s)
          for (int64_t i = h * up.fh; i < (h + 1) * up.fh; ++i)
            for (int64_t j = w * up.fw; j < (w + 1) * up.fw; ++j) {
              const int64_t row = ((b * up.big_frames() + s) * up.height * up.fh + i) * up.width * up.fw + j;
              const Acc* g = dy.load(row, lease.data() + channels);
              for (int64_t k = 0; k < channels; ++k) sum[k] += g[k];
            }
        dx.finish(line * up.width + w, sum);
      }
    }
  });
  return {};
}

// --- bilinear
// -----------------------------------------------------------------------------------------------------------

/// Row `to` of a sparse matrix: `count` weights of the sources from `first` on.
struct Span1d {
  int64_t first, count, start;  // its weights begin at weights[start]
};

/// How one axis of size `from` is read to make one of size `to`.
struct AxisRule {
  int64_t from, to;
  bool align_corners, antialias;

  double scale() const {
    if (!align_corners) return static_cast<double>(from) / static_cast<double>(to);
    return to > 1 ? static_cast<double>(from - 1) / static_cast<double>(to - 1) : 0.0;
  }
  /// The span that output i reads; weights (when not nullptr) receives its weights.
  Span1d span(int64_t i, double* weights) const { return antialias ? filtered(i, weights) : interpolated(i, weights); }

  /// Between the two nearest sources; the borders repeat.
  Span1d interpolated(int64_t i, double* weights) const {
    double at = align_corners ? scale() * static_cast<double>(i) : scale() * (static_cast<double>(i) + 0.5) - 0.5;
    at = at < 0 ? 0 : at;
    const int64_t first = static_cast<int64_t>(at) < from - 1 ? static_cast<int64_t>(at) : from - 1;
    const double fraction = at - static_cast<double>(first);
    const int64_t count = first + 1 < from ? 2 : 1;
    if (weights != nullptr) {
      weights[0] = count == 2 ? 1 - fraction : 1;
      if (count == 2) weights[1] = fraction;
    }
    return {first, count, 0};
  }

  /// A triangle as wide as the reduction, so that every source counts when shrinking.
  Span1d filtered(int64_t i, double* weights) const {
    const double reach = scale() >= 1 ? scale() : 1, centre = scale() * (static_cast<double>(i) + 0.5);
    const int64_t low = static_cast<int64_t>(centre - reach + 0.5), high = static_cast<int64_t>(centre + reach + 0.5);
    const int64_t first = centre - reach + 0.5 < 0 ? 0 : low, end = high < from ? high : from;
    if (weights != nullptr) {
      double total = 0;
      for (int64_t j = first; j < end; ++j) {
        const double distance = __builtin_fabs((static_cast<double>(j) - centre + 0.5) / reach);
        weights[j - first] = distance < 1 ? 1 - distance : 0;
        total += weights[j - first];
      }
      for (int64_t j = first; j < end; ++j) weights[j - first] /= total;
    }
    return {first, end - first, 0};
  }
};

template <class Acc>
struct AxisTable {
  int64_t size = 0;
  Span1d* spans = nullptr;
  Acc* weights = nullptr;

  /// One span for each output, or (transposed) one for each source: the outputs that read it.
  bool fill(const Context& ctx, const AxisRule& rule, bool transposed) {
    int64_t total = 0, widest = 1;
    for (int64_t i = 0; i < rule.to; ++i) {
      const int64_t count = rule.span(i, nullptr).count;
      total += count;
      widest = count > widest ? count : widest;
    }
    size = transposed ? rule.from : rule.to;
    spans = ctx.template workspace<Span1d>(size + 1);
    double* buffer = ctx.template workspace<double>(widest);
    if (spans == nullptr || buffer == nullptr) return false;
    return transposed ? fill_transposed(ctx, rule, buffer) : fill_direct(ctx, rule, total, buffer);
  }

 private:
  bool fill_direct(const Context& ctx, const AxisRule& rule, int64_t total, double* buffer) {
    weights = ctx.template workspace<Acc>(total + 1);
    if (weights == nullptr) return false;
    int64_t start = 0;
    for (int64_t i = 0; i < rule.to; ++i) {
      spans[i] = rule.span(i, buffer);
      spans[i].start = start;
      for (int64_t j = 0; j < spans[i].count; ++j) weights[start++] = static_cast<Acc>(buffer[j]);
    }
    return true;
  }

  bool fill_transposed(const Context& ctx, const AxisRule& rule, double* buffer) {
    for (int64_t i = 0; i < size; ++i) spans[i] = {0, 0, 0};
    // Spans move one way only, so the outputs that read a source are neighbours.
    for (int64_t i = 0; i < rule.to; ++i) {
      const Span1d read = rule.span(i, nullptr);
      for (int64_t j = read.first; j < read.first + read.count; ++j) {
        if (spans[j].count == 0) spans[j].first = i;
        spans[j].count = i - spans[j].first + 1;
      }
    }
    int64_t total = 0;
    for (int64_t i = 0; i < size; ++i) {
      spans[i].start = total;
      total += spans[i].count;
    }
    weights = ctx.template workspace<Acc>(total + 1);
    if (weights == nullptr) return false;
    for (int64_t i = 0; i < total; ++i) weights[i] = 0;
    for (int64_t i = 0; i < rule.to; ++i) {
      const Span1d read = rule.span(i, buffer);
      for (int64_t j = 0; j < read.count; ++j) {
        const Span1d& to = spans[read.first + j];
        weights[to.start + i - to.first] = static_cast<Acc>(buffer[j]);
      }
    }
    return true;
  }
};

/// [.., H, W, C] as [.., H, W * C]; W must have no gaps.
TensorView merge_line(TensorView t) {
  const int last = --t.rank;
  t.shape[last - 1] *= t.shape[last];
  t.strides[last - 1] = 1;
  return t;
}

/// to[.., h, w, :] = sum over the spans of h and w of from[.., i, j, :]: a line is first summed over i, then over j.
template <class Acc>
Status resize(const Context& ctx, const TensorView& from, const TensorView& to, const AxisTable<Acc>& rows,
              const AxisTable<Acc>& columns) {
  const int64_t channels = from.dim(-1), width = from.dim(-2), height = from.dim(-3);
  // A line without gaps is read in one piece: per-voxel runs of 3 channels would cost more to find than to add.
  const int64_t pieces = from.stride(-2) == channels ? 1 : width, piece = width / pieces * channels;
  const Rows<Acc> in(pieces == 1 ? merge_line(from) : from), out(to);
  const int64_t lines = rows.size > 0 && columns.size > 0 ? to.rows() / columns.size : 0;
  const Scratch<Acc> scratch(ctx, piece + width * channels);
  if (!scratch.ok()) return Status::no_memory();
  const int64_t chunk = rows_per_chunk(columns.size * channels);
  ctx.parallel_for(ceil_div(lines, chunk), [&](int64_t c) {
    const typename Scratch<Acc>::Lease lease(scratch);
    Acc *const one = lease.data(), *const line = one + piece;
    for (int64_t l = c * chunk; l < lines && l < (c + 1) * chunk; ++l) {
      const Span1d& span = rows.spans[l % rows.size];
      std::memset(line, 0, static_cast<size_t>(width * channels) * sizeof(Acc));
      for (int64_t i = 0; i < span.count; ++i) {
        const Acc weight = rows.weights[span.start + i];
        const int64_t first = (l / rows.size * height + span.first + i) * pieces;
        for (int64_t p = 0; p < pieces; ++p) {
          const Acc* x = in.load(first + p, one);
          for (int64_t k = 0; k < piece; ++k) line[p * piece + k] += weight * x[k];
        }
      }
      for (int64_t w = 0; w < columns.size; ++w) {
        const Span1d& reads = columns.spans[w];
        Acc* y = out.open(l * columns.size + w, one);
        for (int64_t k = 0; k < channels; ++k) y[k] = 0;
        for (int64_t j = 0; j < reads.count; ++j) {
          const Acc weight = columns.weights[reads.start + j];
          const Acc* x = line + (reads.first + j) * channels;
          for (int64_t k = 0; k < channels; ++k) y[k] += weight * x[k];
        }
        out.finish(l * columns.size + w, y);
      }
    }
  });
  return {};
}

/// The rule is that of the forward op, whichever way values flow here.
template <class Acc>
Status bilinear(const Context& ctx, const TensorView& from, const TensorView& to, bool align_corners, bool antialias,
                bool transposed) {
  if (to.elements() == 0) return {};
  AxisTable<Acc> tables[2];
  for (int i = 0; i < 2; ++i) {
    const int64_t source = (transposed ? to : from).dim(i - 3), target = (transposed ? from : to).dim(i - 3);
    if (!tables[i].fill(ctx, {source, target, align_corners, antialias}, transposed)) return Status::no_memory();
  }
  return resize<Acc>(ctx, from, to, tables[0], tables[1]);
}

}  // namespace

Status upsample_nearest(const Context& ctx, const UpsampleNearestArgs& a) { return upsample(ctx, a); }

Status upsample_nearest_backward(const Context& ctx, const UpsampleNearestBackwardArgs& a) {
  return with_float_acc(a.dy.dtype, [&](auto acc) { return upsample_gradient<decltype(acc)>(ctx, a); });
}

Status resize_bilinear(const Context& ctx, const ResizeBilinearArgs& a) {
  return with_float_acc(
      a.x.dtype, [&](auto acc) { return bilinear<decltype(acc)>(ctx, a.x, a.y, a.align_corners, a.antialias, false); });
}

Status resize_bilinear_backward(const Context& ctx, const ResizeBilinearBackwardArgs& a) {
  return with_float_acc(a.dy.dtype, [&](auto acc) {
    return bilinear<decltype(acc)>(ctx, a.dy, a.dx, a.align_corners, a.antialias, true);
  });
}

}  // namespace hn::cpu::HN_ISA
