// Parts side by side along one axis, zeros where there is none.
//   y[.., start_i + j, ..] = part_i[.., j, ..]
//
// A copy a part (copy.cu), of any strides and every type. Bytes: 2 · size(y) without gaps. Bound by memory.
#include "core/generated/concat.h"
#include "cuda/copy_view.h"
#include "cuda/support.h"

namespace hn::cuda {

HN_SUPPORTS(concat, kAllTypes);

Status concat(const Context& ctx, const ConcatArgs& a) {
  const int axis = static_cast<int>(a.axis);
  int64_t filled = 0;  // parts come in the order of their starts, so that gaps lie between neighbours
  for (int32_t i = 0; i < a.parts.count; ++i) {
    const TensorView& part = a.parts[i];
    const int64_t start = a.starts[i], size = part.shape[axis];
    if (start < filled || start + size > a.size) return Status::invalid("parts overlap or reach beyond the axis");
    HN_RETURN_IF_ERROR(fill_view(ctx, 0, part_of(a.y, axis, filled, start - filled)));
    HN_RETURN_IF_ERROR(copy_view(ctx, part, part_of(a.y, axis, start, size)));
    filled = start + size;
  }
  return fill_view(ctx, 0, part_of(a.y, axis, filled, a.size - filled));
}

}  // namespace hn::cuda
