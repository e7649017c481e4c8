// Slices picked along one axis by a list of indices, and the gradient.
//   y[o, j, i] = x[o, ids[j], i]          x [O, V, I], ids [N], y [O, N, I]
//   dx[o, v, i] = Σ_j dy[o, j, i] over the j with ids[j] = v, in the order of j
// Bound by memory: y forward; dy read and dx written once backward.
#include <cstring>

#include "core/data_error.h"
#include "core/generated/layout.h"
#include "cpu/context.h"
#include "cpu/kernels/convert.h"
#include "cpu/kernels/dispatch.h"

namespace hn::cpu::HN_ISA {
namespace {

struct Extents {
  int64_t outer = 1, size = 1, inner = 1;
  Extents(const TensorView& t, int64_t axis) : size(t.shape[axis]) {
    for (int i = 0; i < axis; ++i) outer *= t.shape[i];
    for (int i = static_cast<int>(axis) + 1; i < t.rank; ++i) inner *= t.shape[i];
  }
};

int64_t index_at(const TensorView& ids, int64_t j) {
  return ids.dtype == DType::i64 ? ids.as<const int64_t>()[j] : ids.as<const int32_t>()[j];
}

Status check_ids(const TensorView& ids, int64_t count, int64_t size) {
  for (int64_t j = 0; j < count; ++j) {
    const int64_t id = index_at(ids, j);
    if (id < 0 || id >= size) return status_of(DataError::index);
  }
  return {};
}

/// One element at a time, for I = 1: a memcpy each would cost ten times as much.
template <class U>
void pick(const void* src, const TensorView& ids, void* dst, int64_t from, int64_t to) {
  const U* x = static_cast<const U*>(src);
  U* y = static_cast<U*>(dst);
  for (int64_t j = from; j < to; ++j) y[j] = x[index_at(ids, j)];
}

void pick_elements(int64_t bytes, const void* x, const TensorView& ids, void* y, int64_t from, int64_t to) {
  switch (bytes) {
    case 1:
      return pick<uint8_t>(x, ids, y, from, to);
    case 2:
      return pick<uint16_t>(x, ids, y, from, to);
    case 4:
      return pick<uint32_t>(x, ids, y, from, to);
    default:
      return pick<uint64_t>(x, ids, y, from, to);
  }
}

/// A task owns the slices [first, end) of one o, and adds to them in the order of the indices: no two tasks meet, and
/// the sums do not depend on who works.
template <class Acc>
Status backward(const Context& ctx, const GatherBackwardArgs& a) {
  const Extents at(a.dx, a.axis);
  const int64_t count = a.ids.elements(), dy_bytes = info(a.dy.dtype).block_bytes;
  const auto load = load_row<Acc>(a.dy.dtype);
  constexpr int64_t kPart = 256, kMostTasks = 64;
  // Every task reads all of ids, so there are not many.
  int64_t chunk = rows_per_chunk(at.inner);
  if (chunk < ceil_div(at.size, kMostTasks)) chunk = ceil_div(at.size, kMostTasks);
  const int64_t chunks = ceil_div(at.size, chunk);
  ctx.parallel_for(at.outer * chunks, [&](int64_t task) {
    const int64_t o = task / chunks, first = task % chunks * chunk;
    const int64_t end = first + chunk < at.size ? first + chunk : at.size;
    Acc* dx = a.dx.as<Acc>() + o * at.size * at.inner;
    std::memset(dx + first * at.inner, 0, static_cast<size_t>((end - first) * at.inner) * sizeof(Acc));
    for (int64_t j = 0; j < count; ++j) {
      const int64_t id = index_at(a.ids, j);
      if (id < first || id >= end) continue;
      const char* row = a.dy.as<const char>() + (o * count + j) * at.inner * dy_bytes;
      Acc* sum = dx + id * at.inner;
      for (int64_t i = 0; i < at.inner; i += kPart) {
        Acc part[kPart];
        const int64_t n = at.inner - i < kPart ? at.inner - i : kPart;
        load(row + i * dy_bytes, 1, n, part);
        for (int64_t k = 0; k < n; ++k) sum[i + k] += part[k];
      }
    }
  });
  return {};
}

}  // namespace

Status gather(const Context& ctx, const GatherArgs& a) {
  const Extents at(a.x, a.axis);
  const int64_t count = a.ids.elements();
  HN_RETURN_IF_ERROR(check_ids(a.ids, count, at.size));
  const int64_t bytes = info(a.x.dtype).block_bytes, row = at.inner * bytes;
  const int64_t chunk = rows_per_chunk(at.inner), chunks = ceil_div(count, chunk);
  ctx.parallel_for(at.outer * chunks, [&](int64_t task) {
    const int64_t o = task / chunks, first = task % chunks * chunk;
    const int64_t end = first + chunk < count ? first + chunk : count;
    const char* x = a.x.as<const char>() + o * at.size * row;
    char* y = a.y.as<char>() + o * count * row;
    if (at.inner == 1) return pick_elements(bytes, x, a.ids, y, first, end);
    for (int64_t j = first; j < end; ++j)
      std::memcpy(y + j * row, x + index_at(a.ids, j) * row, static_cast<size_t>(row));
  });
  return {};
}

Status gather_backward(const Context& ctx, const GatherBackwardArgs& a) {
  HN_RETURN_IF_ERROR(check_ids(a.ids, a.ids.elements(), a.dx.shape[a.axis]));
  return with_float_acc(a.dx.dtype, [&](auto acc) { return backward<decltype(acc)>(ctx, a); });
}

}  // namespace hn::cpu::HN_ISA
