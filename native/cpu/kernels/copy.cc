// Copies: any strides in (0 repeats an axis), any strides out, another type if wanted.
//   y[i] = convert(x[i])
// Axes that follow on each other in both tensors are joined first; what is left is one of
//   rows       the innermost axis is dense in x (or repeats, or steps): row by row, memcpy where the types agree
//   transpose  another axis is the dense one in x: tiles over the two, so that both sides are used by whole cache lines
// Bound by memory: one read of x, one write of y.
#include <cstring>

#include "core/generated/copy.h"
#include "cpu/context.h"
#include "cpu/kernels/convert.h"
#include "cpu/kernels/copy_view.h"
#include "cpu/kernels/dispatch.h"
#include "cpu/kernels/transpose.h"

namespace hn::cpu::HN_ISA {
namespace {

/// The axes of a copy, outermost first, with the strides of both sides. Never without an axis.
struct Walk {
  int rank = 0;
  int64_t n[kMaxRank] = {}, xs[kMaxRank] = {}, ys[kMaxRank] = {};

  int64_t rows() const {
    int64_t count = 1;
    for (int i = 0; i + 1 < rank; ++i) count *= n[i];
    return count;
  }
};

/// Drops axes of one element and joins neighbours that both sides walk as one.
Walk simplify(const TensorView& x, const TensorView& y) {
  Walk w;
  for (int i = 0; i < x.rank; ++i) {
    if (x.shape[i] == 1) continue;
    const int last = w.rank - 1;
    if (w.rank > 0 && w.xs[last] == x.strides[i] * x.shape[i] && w.ys[last] == y.strides[i] * x.shape[i]) {
      w.n[last] *= x.shape[i];
      w.xs[last] = x.strides[i];
      w.ys[last] = y.strides[i];
    } else {
      w.n[w.rank] = x.shape[i];
      w.xs[w.rank] = x.strides[i];
      w.ys[w.rank++] = y.strides[i];
    }
  }
  if (w.rank == 0) w = {1, {1}, {1}, {1}};
  return w;
}

/// Steps through the outer axes of a walk, all but the last `inner`.
class Cursor {
 public:
  Cursor(const Walk& walk, int inner, int64_t at) : walk_(walk), outer_(walk.rank - inner) {
    for (int i = outer_ - 1; i >= 0; --i) {
      index_[i] = at % walk.n[i];
      at /= walk.n[i];
      x += index_[i] * walk.xs[i];
      y += index_[i] * walk.ys[i];
    }
  }
  void next() {
    for (int i = outer_ - 1; i >= 0; --i) {
      x += walk_.xs[i];
      y += walk_.ys[i];
      if (++index_[i] < walk_.n[i]) return;
      x -= index_[i] * walk_.xs[i];
      y -= index_[i] * walk_.ys[i];
      index_[i] = 0;
    }
  }
  int64_t x = 0, y = 0;  // offsets in elements

 private:
  const Walk& walk_;
  const int outer_;
  int64_t index_[kMaxRank] = {};
};

/// How one run of elements is copied. A plain struct, so that rows and tiles need no instance for each pair of types.
struct Run {
  DType from, to;
  int64_t x_bytes, y_bytes;
  bool same;

  Run(DType from_type, DType to_type)
      : from(from_type),
        to(to_type),
        x_bytes(info(from_type).block_bytes),
        y_bytes(info(to_type).block_bytes),
        same(from_type == to_type) {}
};

template <class U>
void step_row(const void* src, int64_t xs, void* dst, int64_t ys, int64_t n) {
  const U* x = static_cast<const U*>(src);
  U* y = static_cast<U*>(dst);
  if (xs == 0 && ys == 1) {
    const U value = *x;
    for (int64_t i = 0; i < n; ++i) y[i] = value;
  } else {
    for (int64_t i = 0; i < n; ++i) y[i * ys] = x[i * xs];
  }
}

/// One row without conversion: bytes are all that matters.
void same_row(const void* src, int64_t xs, void* dst, int64_t ys, int64_t n, int64_t bytes) {
  if (xs == 1 && ys == 1) {
    std::memcpy(dst, src, static_cast<size_t>(n * bytes));
  } else if (bytes == 1) {
    step_row<uint8_t>(src, xs, dst, ys, n);
  } else if (bytes == 2) {
    step_row<uint16_t>(src, xs, dst, ys, n);
  } else if (bytes == 4) {
    step_row<uint32_t>(src, xs, dst, ys, n);
  } else {
    step_row<uint64_t>(src, xs, dst, ys, n);
  }
}

constexpr int64_t kConvertRun = 512;  // elements converted at a time, on the stack

template <class Acc>
void convert_row(const Run& run, const char* src, int64_t xs, char* dst, int64_t ys, int64_t n) {
  const auto load = load_row<Acc>(run.from);
  const auto store = store_row<Acc>(run.to);
  if (run.from == kAccType<Acc> && xs == 1) return store(dst, ys, n, reinterpret_cast<const Acc*>(src));
  if (run.to == kAccType<Acc> && ys == 1) return load(src, xs, n, reinterpret_cast<Acc*>(dst));
  Acc part[kConvertRun];
  for (int64_t i = 0; i < n; i += kConvertRun) {
    const int64_t count = n - i < kConvertRun ? n - i : kConvertRun;
    load(src + i * xs * run.x_bytes, xs, count, part);
    store(dst + i * ys * run.y_bytes, ys, count, part);
  }
}

/// `row(src, xs, dst, ys, n)` for every row, long ones in pieces.
template <class Row>
void each_row(const Context& ctx, const Walk& w, const Run& run, const char* x, char* y, Row&& row) {
  const int last = w.rank - 1;
  const int64_t width = w.n[last], xs = w.xs[last], ys = w.ys[last], rows = w.rows();
  const int64_t pieces = ceil_div(width, kChunkElements);
  const int64_t chunk = rows_per_chunk(width);
  ctx.parallel_for(ceil_div(rows, chunk) * pieces, [&](int64_t task) {
    const int64_t first = task / pieces * chunk, from = task % pieces * kChunkElements;
    const int64_t count = width - from < kChunkElements ? width - from : kChunkElements;
    const int64_t end = first + chunk < rows ? first + chunk : rows;
    Cursor at(w, 1, first);
    for (int64_t r = first; r < end; ++r, at.next()) {
      row(x + (at.x + from * xs) * run.x_bytes, xs, y + (at.y + from * ys) * run.y_bytes, ys, count);
    }
  });
}

// --- transpose: the last two axes of the walk are (p, q); x is dense along p, y along q
// -----------------------------------

constexpr int64_t kTile = 128;

/// A tile with conversion: rows of x (along p) into a block of Acc, columns of the block into rows of y.
template <class Acc>
void convert_tile(const Run& run, const char* x, int64_t xs, char* y, int64_t ys, int64_t np, int64_t nq) {
  constexpr int64_t kPart = 32;
  alignas(64) Acc block[kPart * kPart], turned[kPart * kPart];
  const auto load = load_row<Acc>(run.from);
  const auto store = store_row<Acc>(run.to);
  for (int64_t p = 0; p < np; p += kPart) {
    for (int64_t q = 0; q < nq; q += kPart) {
      const int64_t pn = np - p < kPart ? np - p : kPart, qn = nq - q < kPart ? nq - q : kPart;
      for (int64_t j = 0; j < qn; ++j) load(x + ((q + j) * xs + p) * run.x_bytes, 1, pn, block + j * kPart);
      transpose_block(block, kPart, turned, kPart, pn, qn);
      for (int64_t i = 0; i < pn; ++i) store(y + ((p + i) * ys + q) * run.y_bytes, 1, qn, turned + i * kPart);
    }
  }
}

void same_tile(const Run& run, const char* x, int64_t xs, char* y, int64_t ys, int64_t np, int64_t nq) {
  switch (run.x_bytes) {
    case 1:
      return transpose_block(reinterpret_cast<const uint8_t*>(x), xs, reinterpret_cast<uint8_t*>(y), ys, np, nq);
    case 2:
      return transpose_block(reinterpret_cast<const uint16_t*>(x), xs, reinterpret_cast<uint16_t*>(y), ys, np, nq);
    case 4:
      return transpose_block(reinterpret_cast<const uint32_t*>(x), xs, reinterpret_cast<uint32_t*>(y), ys, np, nq);
    default:
      return transpose_block(reinterpret_cast<const uint64_t*>(x), xs, reinterpret_cast<uint64_t*>(y), ys, np, nq);
  }
}

/// `tile(x, xs, y, ys, np, nq)` for every tile of the last two axes.
template <class Tile>
void each_tile(const Context& ctx, const Walk& w, const Run& run, const char* x, char* y, Tile&& tile) {
  const int q = w.rank - 1, p = w.rank - 2;
  const int64_t tiles_p = ceil_div(w.n[p], kTile), tiles_q = ceil_div(w.n[q], kTile);
  const int64_t plane = tiles_p * tiles_q, all = w.rows() / w.n[p] * plane;
  const int64_t tile_elements = (w.n[p] < kTile ? w.n[p] : kTile) * (w.n[q] < kTile ? w.n[q] : kTile);
  const int64_t chunk = rows_per_chunk(tile_elements);
  ctx.parallel_for(ceil_div(all, chunk), [&](int64_t c) {
    const int64_t first = c * chunk, end = first + chunk < all ? first + chunk : all;
    Cursor at(w, 2, first / plane);
    for (int64_t t = first; t < end; ++t) {
      const int64_t in_plane = t % plane;
      const int64_t p0 = in_plane / tiles_q * kTile, q0 = in_plane % tiles_q * kTile;
      const int64_t np = w.n[p] - p0 < kTile ? w.n[p] - p0 : kTile, nq = w.n[q] - q0 < kTile ? w.n[q] - q0 : kTile;
      const int64_t from = at.x + p0 + q0 * w.xs[q], to = at.y + p0 * w.ys[p] + q0;
      tile(x + from * run.x_bytes, w.xs[q], y + to * run.y_bytes, w.ys[p], np, nq);
      if (in_plane == plane - 1) at.next();
    }
  });
}

/// When x is dense along another axis than the last: moves that axis next to the last one. False when there is none.
bool prepare_transpose(Walk& w) {
  const int last = w.rank - 1;
  if (w.xs[last] <= 1 || w.ys[last] != 1) return false;
  for (int axis = last - 1; axis >= 0; --axis) {
    if (w.xs[axis] != 1) continue;
    const int64_t n = w.n[axis], ys = w.ys[axis];
    for (int i = axis; i < last - 1; ++i) {
      w.n[i] = w.n[i + 1];
      w.xs[i] = w.xs[i + 1];
      w.ys[i] = w.ys[i + 1];
    }
    w.n[last - 1] = n;
    w.xs[last - 1] = 1;
    w.ys[last - 1] = ys;
    return true;
  }
  return false;
}

/// Goes through the type that loses nothing on the way: integers as they are, f64 where either side is f64, else float.
template <class Fn>
void with_route(const Run& run, Fn&& fn) {
  if (!is_float(run.from)) return fn(int64_t{});
  if (run.from == DType::f64 || run.to == DType::f64) return fn(double{});
  return fn(float{});
}

}  // namespace

void copy_view(const Context& ctx, const TensorView& from, const TensorView& to) {
  if (to.elements() == 0) return;
  const Run run(from.dtype, to.dtype);
  const char* x = from.as<const char>();
  char* y = to.as<char>();
  Walk w = simplify(from, to);
  if (prepare_transpose(w)) {
    if (run.same) {
      each_tile(ctx, w, run, x, y, [&](auto... args) { same_tile(run, args...); });
    } else {
      with_route(run, [&](auto acc) {
        each_tile(ctx, w, run, x, y, [&](auto... args) { convert_tile<decltype(acc)>(run, args...); });
      });
    }
  } else if (run.same) {
    each_row(ctx, w, run, x, y, [&](auto... args) { same_row(args..., run.x_bytes); });
  } else {
    with_route(run, [&](auto acc) {
      each_row(ctx, w, run, x, y, [&](auto... args) { convert_row<decltype(acc)>(run, args...); });
    });
  }
}

void zero_view(const Context& ctx, const TensorView& to) {
  static constexpr uint64_t kZero = 0;  // zero is all bits off in every type
  TensorView zero = to;
  zero.data = const_cast<uint64_t*>(&kZero);
  for (int i = 0; i < zero.rank; ++i) zero.strides[i] = 0;
  copy_view(ctx, zero, to);
}

Status copy(const Context& ctx, const CopyArgs& a) {
  copy_view(ctx, a.x, a.y);
  return {};
}

}  // namespace hn::cpu::HN_ISA
