// Parts side by side along one axis, zeros where there is none.
//   y[.., start_i + j, ..] = part_i[.., j, ..]
// Bound by memory: one read of every part, one write of y.
#include "core/generated/concat.h"
#include "cpu/context.h"
#include "cpu/kernels/copy_view.h"

namespace hn::cpu::HN_ISA {

Status concat(const Context& ctx, const ConcatArgs& a) {
  const int axis = static_cast<int>(a.axis);
  int64_t filled = 0;  // parts come in the order of their starts, so that gaps lie between neighbours
  for (int32_t i = 0; i < a.parts.count; ++i) {
    const int64_t start = a.starts[i], size = a.parts[i].shape[axis];
    if (start < filled || start + size > a.size) return Status::invalid("parts overlap or reach beyond the axis");
    zero_view(ctx, part_of(a.y, axis, filled, start - filled));
    copy_view(ctx, a.parts[i], part_of(a.y, axis, start, size));
    filled = start + size;
  }
  zero_view(ctx, part_of(a.y, axis, filled, a.size - filled));
  return {};
}

}  // namespace hn::cpu::HN_ISA
