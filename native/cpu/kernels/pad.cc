// Padding of every axis, with zeros or by repeating the edge, and the gradient of the latter.
//   y[i] = x[clamp(i - before, 0, n - 1)]       (replicate)
//   dx[i] = Σ dy[j] over all j that y copies from i, in the order of j
// Bound by memory: one read of x, one write of y.
#include "core/generated/layout.h"
#include "cpu/context.h"
#include "cpu/kernels/copy_view.h"
#include "cpu/kernels/dispatch.h"
#include "cpu/kernels/rows.h"
#include "cpu/kernels/scratch.h"

namespace hn::cpu::HN_ISA {
namespace {

/// One element of an axis, as if it were `size` of them.
TensorView repeated(const TensorView& t, int axis, int64_t index, int64_t size) {
  TensorView edge = part_of(t, axis, index, size);
  edge.strides[axis] = 0;
  return edge;
}

/// Where the gradient of each element comes from, along one axis: [first, end) of the padded axis.
struct Sources {
  int64_t first, end;
  Sources(int64_t i, int64_t n, int64_t before, int64_t after)
      : first(i == 0 ? 0 : i + before), end(i == n - 1 ? n + before + after : i + before + 1) {}
};

/// The rows of dy that one row of dx is the sum of: a box, walked in order.
template <class Acc>
class Box {
 public:
  Box(const PadBackwardArgs& a, int64_t row) : axes_(a.dx.rank - 1), view_(a.dy) {
    for (int axis = axes_ - 1; axis >= 0; --axis) {
      const int64_t n = a.dx.shape[axis];
      const Sources from(row % n, n, a.before[axis], a.after[axis]);
      row /= n;
      first_[axis] = index_[axis] = from.first;
      end_[axis] = from.end;
    }
  }
  int64_t row() const {
    int64_t r = 0;
    for (int axis = 0; axis < axes_; ++axis) r = r * view_.shape[axis] + index_[axis];
    return r;
  }
  bool next() {
    for (int axis = axes_ - 1; axis >= 0; --axis) {
      if (++index_[axis] < end_[axis]) return true;
      index_[axis] = first_[axis];
    }
    return false;
  }

 private:
  const int axes_;
  const TensorView& view_;
  int64_t first_[kMaxRank] = {}, end_[kMaxRank] = {}, index_[kMaxRank] = {};
};

/// Folds the rim of a summed row onto its two ends.
template <class Acc>
void fold_row(const Acc* sum, int64_t n, int64_t before, int64_t after, Acc* out) {
  for (int64_t i = 0; i < n; ++i) {
    const Sources from(i, n, before, after);
    Acc total = sum[from.first];
    for (int64_t j = from.first + 1; j < from.end; ++j) total += sum[j];
    out[i] = total;
  }
}

template <class Acc>
Status backward(const Context& ctx, const PadBackwardArgs& a) {
  const Rows<Acc> dy(a.dy), dx(a.dx);
  const int last = a.dx.rank - 1;
  const int64_t width = dy.width(), rows = a.dx.rows();
  const Scratch<Acc> scratch(ctx, 3 * width);
  if (!scratch.ok()) return Status::no_memory();
  const int64_t chunk = rows_per_chunk(width);
  ctx.parallel_for(ceil_div(rows, chunk), [&](int64_t c) {
    const typename Scratch<Acc>::Lease lease(scratch);
    Acc *in = lease.data(), *sum = in + width, *out = sum + width;
    for (int64_t row = c * chunk; row < rows && row < (c + 1) * chunk; ++row) {
      Box<Acc> box(a, row);
      const Acc* first = dy.load(box.row(), in);
      for (int64_t i = 0; i < width; ++i) sum[i] = first[i];
      while (box.next()) {
        const Acc* more = dy.load(box.row(), in);
        for (int64_t i = 0; i < width; ++i) sum[i] += more[i];
      }
      Acc* o = dx.open(row, out);
      fold_row(sum, dx.width(), a.before[last], a.after[last], o);
      dx.finish(row, o);
    }
  });
  return {};
}

}  // namespace

Status pad(const Context& ctx, const PadArgs& a) {
  const bool zero = a.mode == PadArgs::Mode::zero;
  TensorView inside = a.y;
  for (int axis = 0; axis < a.y.rank; ++axis) {
    const int64_t before = a.before[axis], n = a.x.shape[axis], after = a.after[axis];
    if (zero) {
      zero_view(ctx, part_of(inside, axis, 0, before));
      zero_view(ctx, part_of(inside, axis, before + n, after));
    }
    inside = part_of(inside, axis, before, n);
  }
  copy_view(ctx, a.x, inside);
  if (zero) return {};
  // From the last axis to the first: each time the region that is whole grows by the rims of one axis.
  for (int axis = a.y.rank - 1; axis >= 0; --axis) {
    const int64_t before = a.before[axis], n = a.x.shape[axis], after = a.after[axis];
    inside = a.y;
    for (int outer = 0; outer < axis; ++outer) inside = part_of(inside, outer, a.before[outer], a.x.shape[outer]);
    copy_view(ctx, repeated(inside, axis, before, before), part_of(inside, axis, 0, before));
    copy_view(ctx, repeated(inside, axis, before + n - 1, after), part_of(inside, axis, before + n, after));
  }
  return {};
}

Status pad_backward(const Context& ctx, const PadBackwardArgs& a) {
  if (a.dx.elements() == 0) return {};
  return with_float_acc(a.dx.dtype, [&](auto acc) { return backward<decltype(acc)>(ctx, a); });
}

}  // namespace hn::cpu::HN_ISA
