// The usual product has one column an output channel: with 3 of them most of a panel is empty. Here the columns are
// (tap, output channel), so each input voxel is read once and gives what it adds to all outputs around it:
//   P[u][tap, co] = sum over ci of x[u, ci] weight[co, tap, ci],   y[v, co] = bias[co] + sum over taps of P[u(v,
//   tap)][tap, co]
// P is kept for a strip of rows and as many frames as there are taps in time.
#include "cpu/kernels/conv3d_narrow.h"

#include <cstring>

#include "cpu/kernels/conv3d_taps.h"
#include "cpu/kernels/gemm.h"
#include "cpu/kernels/reused_workspace.h"

namespace hn::cpu::HN_ISA {
namespace {

constexpr int64_t kMostChannels = 8, kLeastDepth = 32;
constexpr int64_t kMostLines = 16;                // taps in t and h together
constexpr int64_t kSlabBytes = int64_t{4} << 20;  // P of one frame of a strip

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

template <class Acc>
class Narrow {
 public:
  Narrow(const Context& ctx, const Conv3dArgs& a)
      : ctx_(ctx),
        products_(ctx),
        x_(with_frames(a.x)),
        weight_(with_frames(a.weight)),
        y_(with_frames(a.y)),
        taps_(weight_.dim(1) * weight_.dim(2) * weight_.dim(3)),
        channels_(weight_.dim(0)),
        store_(store_row<Acc>(a.y.dtype)) {
    const bool replicate = a.pad_mode == Conv3dArgs::PadMode::replicate;
    for (int i = 0; i < 3; ++i) {
      const int64_t size = x_.dim(i + 1), stride = a.stride[i], before = a.before[i];
      const auto span_of = [=](int64_t position, int64_t tap) -> Span {
        return forward_span(position, tap, size, stride, before, replicate);
      };
      if (!axes_[i].fill(ctx, y_.dim(i + 1), weight_.dim(i + 1), span_of)) return;
    }
    const int64_t row_bytes = x_.dim(3) * columns() * static_cast<int64_t>(sizeof(Acc));
    strip_ = smaller(y_.dim(2), larger(1, kSlabBytes / (row_bytes + 1) - (weight_.dim(2) - 1)));
    slab_elements_ = smaller(x_.dim(2), strip_ + weight_.dim(2) - 1) * x_.dim(3) * columns();
    slabs_ = ctx.workspace<Acc>(slab_elements_ * weight_.dim(1) + kMostChannels);
    held_ = ctx.workspace<int64_t>(weight_.dim(1));
    bias_ = ctx.workspace<Acc>(kMostChannels);
    matrix_ = ctx.workspace<Acc>(columns() * x_.dim(4));
    if (slabs_ == nullptr || held_ == nullptr || bias_ == nullptr || matrix_ == nullptr) return;
    for (int64_t n = 0; n < kMostChannels; ++n) bias_[n] = 0;
    if (a.bias) load_row<Acc>(a.bias.dtype)(a.bias.data, 1, channels_, bias_);
    const LoadRow<Acc> load_weight = load_row<Acc>(weight_.dtype);
    for (int64_t tap = 0; tap < taps_; ++tap)
      for (int64_t n = 0; n < channels_; ++n)
        load_weight(weight_.at((n * taps_ + tap) * x_.dim(4)), 1, x_.dim(4),
                    matrix_ + (tap * channels_ + n) * x_.dim(4));
    ok_ = true;
  }

  Status run() {
    if (!ok_) return Status::no_memory();
    for (int64_t b = 0; b < y_.dim(0); ++b)
      for (int64_t h0 = 0; h0 < y_.dim(2); h0 += strip_) {
        const int64_t h_count = smaller(strip_, y_.dim(2) - h0);
        choose_rows(h0, h_count);
        for (int64_t i = 0; i < weight_.dim(1); ++i) held_[i] = -1;
        for (int64_t t = 0; t < y_.dim(1); ++t) {
          HN_RETURN_IF_ERROR(make_slabs(b, t));
          ctx_.parallel_for(h_count, [&](int64_t i) { add_row(b, t, h0 + i); });
        }
      }
    return {};
  }

 private:
  int64_t columns() const { return taps_ * channels_; }

  /// The rows of x that a strip of y reads.
  void choose_rows(int64_t h0, int64_t h_count) {
    int64_t first = x_.dim(2), end = 0;
    for (int64_t h = h0; h < h0 + h_count; ++h)
      for (int64_t tap = 0; tap < weight_.dim(2); ++tap) {
        const Span span = axes_[1].at(h, tap);
        if (span.count == 0) continue;
        first = smaller(first, span.first);
        end = larger(end, span.first + 1);
      }
    row0_ = smaller(first, end);
    row_count_ = end - row0_;
  }

  /// P of the frames that frame t of y reads; those that are there from the frame before stay.
  Status make_slabs(int64_t b, int64_t t) {
    for (int64_t tap = 0; tap < weight_.dim(1); ++tap) {
      const Span span = axes_[0].at(t, tap);
      if (span.count == 0) continue;
      const int64_t slot = span.first % weight_.dim(1);
      if (held_[slot] == span.first) continue;
      held_[slot] = span.first;
      char* from =
          static_cast<char*>(x_.data) +
          (b * x_.strides[0] + span.first * x_.strides[1] + row0_ * x_.strides[2]) * info(x_.dtype).block_bytes;
      // Rows without gaps between them are one matrix, others a matrix each.
      const bool whole = x_.strides[2] == x_.dim(3) * x_.strides[3];
      const int64_t matrices = whole ? 1 : row_count_, voxels = whole ? row_count_ * x_.dim(3) : x_.dim(3);
      const Matrix a{from, x_.dtype, x_.strides[3], 1, {1, {matrices}, {x_.strides[2]}}};
      const Matrix w{matrix_, kAccType<Acc>, x_.dim(4), 1, {}};
      const Matrix p{slab(span.first), kAccType<Acc>, columns(), 1, {1, {matrices}, {voxels * columns()}}};
      HN_RETURN_IF_ERROR(gemm<Acc>(products_.next(), {matrices, voxels, columns(), x_.dim(4)}, RowMajorA<Acc>(a),
                                   TransposedB<Acc>(w), RowMajorSink<Acc>(p)));
    }
    return {};
  }

  Acc* slab(int64_t frame) const { return slabs_ + frame % weight_.dim(1) * slab_elements_; }

  void add_row(int64_t b, int64_t t, int64_t h) const {
    const int64_t lines = weight_.dim(1) * weight_.dim(2), line_columns = weight_.dim(3) * channels_;
    const Acc* line[kMostLines];
    for (int64_t q = 0; q < lines; ++q) {
      const Span &frame = axes_[0].at(t, q / weight_.dim(2)), &row = axes_[1].at(h, q % weight_.dim(2));
      const bool zero = frame.count == 0 || row.count == 0;
      line[q] = zero ? nullptr : slab(frame.first) + (row.first - row0_) * x_.dim(3) * columns() + q * line_columns;
    }
    char* to = static_cast<char*>(y_.at(b * y_.strides[0] + t * y_.strides[1] + h * y_.strides[2]));
    channels_ <= 4 ? add_line<1>(line, lines, to) : add_line<2>(line, lines, to);
  }

  /// Sums in groups of four channels; the last group reads on into the next tap's column and drops what it finds there.
  template <int kGroups>
  void add_line(const Acc* const* line, int64_t lines, char* to) const {
    typedef Acc Four __attribute__((vector_size(4 * sizeof(Acc))));
    const int64_t step = y_.strides[3] * info(y_.dtype).block_bytes;
    Four bias[kGroups];
    std::memcpy(bias, bias_, sizeof bias);
    for (int64_t w = 0; w < y_.dim(3); ++w, to += step) {
      Four sum[kGroups];
      for (int g = 0; g < kGroups; ++g) sum[g] = bias[g];
      for (int64_t k = 0; k < weight_.dim(3); ++k) {
        const Span& column = axes_[2].at(w, k);
        if (column.count == 0) continue;
        const int64_t offset = column.first * columns() + k * channels_;
        for (int64_t q = 0; q < lines; ++q) {
          if (line[q] == nullptr) continue;
          Four part[kGroups];
          std::memcpy(part, line[q] + offset, sizeof part);
          for (int g = 0; g < kGroups; ++g) sum[g] += part[g];
        }
      }
      Acc out[kMostChannels];
      std::memcpy(out, sum, sizeof sum);
      store_(to, 1, channels_, out);
    }
  }

  const Context& ctx_;
  Reused products_;
  const TensorView x_, weight_, y_;
  const int64_t taps_, channels_;
  const StoreRow<Acc> store_;
  TapAxis axes_[3];
  int64_t strip_ = 0, slab_elements_ = 0;
  int64_t row0_ = 0, row_count_ = 0;
  Acc *slabs_ = nullptr, *bias_ = nullptr, *matrix_ = nullptr;
  int64_t* held_ = nullptr;  // which frame each slab holds
  bool ok_ = false;
};

}  // namespace

bool is_narrow(const Conv3dArgs& a) {
  const TensorView weight = with_frames(a.weight);
  return weight.dim(0) <= kMostChannels && weight.dim(4) >= kLeastDepth && weight.elements() > 0 &&
         weight.dim(1) * weight.dim(2) <= kMostLines && weight.elements() > weight.dim(0) * weight.dim(4) &&
         a.stride[0] == 1 && a.stride[1] == 1 && a.stride[2] == 1;
}

template <class Acc>
Status conv3d_narrow(const Context& ctx, const Conv3dArgs& a) {
  return Narrow<Acc>(ctx, a).run();
}

template Status conv3d_narrow<float>(const Context&, const Conv3dArgs&);
template Status conv3d_narrow<double>(const Context&, const Conv3dArgs&);

}  // namespace hn::cpu::HN_ISA
