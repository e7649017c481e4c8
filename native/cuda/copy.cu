// Copies: any strides in (0 repeats an axis), any strides out, another type if wanted.
//   y[i] = convert(x[i])
//
// Axes that follow on each other in both tensors are joined first. Without conversion only sizes matter: elements are
// moved in the largest units of up to 16 bytes that both tensors are made of, so that dense copies, slices, and
// permutations that leave the innermost axis in place cost an index a unit. Conversions take four elements at a time
// where they can. When x is dense along another axis than y, tiles over the two go through shared memory, so that both
// sides are used by whole cache lines.
//
// Bytes: size(x) + size(y). Bound by memory: [118800, 9216] in bf16 moves 4.4 GB.
#include "core/generated/copy.h"
#include "cuda/copy_view.h"
#include "cuda/device/convert.cuh"
#include "cuda/device/shared.cuh"
#include "cuda/device/walk.cuh"
#include "cuda/launch.h"
#include "cuda/support.h"

namespace hn::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kItems = 4;  // of a thread, all loaded before the first is stored

// --- routes: how an element comes from x, and gets to y -------------------------------------------------------------

/// As it is: U is any type of its size.
template <class U>
struct Move {
  using Value = U;
  const U* x;
  U* y;

  HN_DEVICE U load(int64_t i) const { return x[i]; }
  HN_DEVICE void store(int64_t i, U value) const { y[i] = value; }

  /// kCount neighbours, all of them aligned.
  template <int kCount>
  HN_DEVICE void load_pack(int64_t i, U (&v)[kCount]) const {
    const auto pack = *reinterpret_cast<const Pack<U, kCount>*>(x + i);
#pragma unroll
    for (int k = 0; k < kCount; ++k) v[k] = pack.items[k];
  }
  template <int kCount>
  HN_DEVICE void store_pack(int64_t i, const U (&v)[kCount]) const {
    Pack<U, kCount> pack;
#pragma unroll
    for (int k = 0; k < kCount; ++k) pack.items[k] = v[k];
    *reinterpret_cast<Pack<U, kCount>*>(y + i) = pack;
  }
};

template <class Acc, int kCount>
struct Values {
  Acc v[kCount];
};

/// By way of Acc, kCount elements in one: offsets are in packs of so many.
template <class Acc, int kCount>
struct Conversion {
  using Value = Values<Acc, kCount>;
  const void* x;
  void* y;
  DType from, to;

  HN_DEVICE Value load(int64_t i) const {
    Value value;
    with_source<Acc>(from, [&](auto storage) {
      using T = decltype(storage);
      const auto pack = *reinterpret_cast<const Pack<T, kCount>*>(static_cast<const T*>(x) + i * kCount);
#pragma unroll
      for (int k = 0; k < kCount; ++k) value.v[k] = static_cast<Acc>(widen(pack.items[k]));
    });
    return value;
  }
  HN_DEVICE void store(int64_t i, const Value& value) const {
    with_target<Acc>(to, [&](auto storage) {
      using T = decltype(storage);
      Pack<T, kCount> pack;
#pragma unroll
      for (int k = 0; k < kCount; ++k) pack.items[k] = convert<T>(value.v[k]);
      *reinterpret_cast<Pack<T, kCount>*>(static_cast<T*>(y) + i * kCount) = pack;
    });
  }
};

// --- element by element ---------------------------------------------------------------------------------------------

/// Operand 0 of the walk is y: threads that are neighbours write neighbours.
template <class Route>
__global__ void __launch_bounds__(kThreads) walk_kernel(Walk<2> walk, int64_t elements, Route route) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * (kThreads * kItems), left = elements - first;
  const auto place = walk.place(first);
  typename Route::Value value[kItems];
  int64_t to[kItems];
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const int step = item * kThreads + static_cast<int>(threadIdx.x);
    if (step >= left) continue;
    int64_t at[2];
    walk.offsets(place, step, at);
    to[item] = at[0];
    value[item] = route.load(at[1]);
  }
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const int step = item * kThreads + static_cast<int>(threadIdx.x);
    if (step < left) route.store(to[item], value[item]);
  }
}

// --- tiles: x is dense along p, y along q ---------------------------------------------------------------------------

struct Plane {
  Divider tiles_p, tiles_q;
  int64_t np, nq;
  int64_t xq, yp;  // distance of neighbours along q in x, along p in y
};

/// The side of a tile: a warp reads and writes it in rows of 32 packs.
template <int kRow>
constexpr int kSide = kWarp * kRow;

/// Elements [i, i + kRow) of x, or the first `there` of them.
template <int kRow, class Route, class Value>
HN_DEVICE void load_row(const Route& route, int64_t i, int there, Value (&v)[kRow]) {
  if constexpr (kRow > 1) {
    if (there >= kRow) return route.load_pack(i, v);
  }
#pragma unroll
  for (int k = 0; k < kRow; ++k) {
    if (k < there) v[k] = route.load(i + k);
  }
}
template <int kRow, class Route, class Value>
HN_DEVICE void store_row(const Route& route, int64_t i, int there, const Value (&v)[kRow]) {
  if constexpr (kRow > 1) {
    if (there >= kRow) return route.store_pack(i, v);
  }
#pragma unroll
  for (int k = 0; k < kRow; ++k) {
    if (k < there) route.store(i + k, v[k]);
  }
}

template <class Route, int kRow>
__global__ void __launch_bounds__(kThreads) tile_kernel(Walk<2> outer, Plane plane, Route route) {
  using Value = typename Route::Value;
  constexpr int kTile = kSide<kRow>, kWarps = kThreads / kWarp, kTurns = kTile / kWarps;
  HN_SHARED(Value, tile, [kTile][kTile + 1]);  // [q][p]; the odd pitch spreads a column over the banks

  int64_t block = blockIdx.x;
  const int64_t q0 = plane.tiles_q.split(block) * kTile, p0 = plane.tiles_p.split(block) * kTile;
  int64_t base[2];
  outer.offsets(outer.place(block), 0, base);
  const int lane = lane_id() * kRow;
  const int np = static_cast<int>(min(plane.np - p0, static_cast<int64_t>(kTile)));
  const int nq = static_cast<int>(min(plane.nq - q0, static_cast<int64_t>(kTile)));

  // All loads, then all that depends on them: a warp has its whole part of the tile under way at once.
  Value v[kTurns][kRow];
  const int64_t x0 = base[1] + q0 * plane.xq + p0 + lane;
#pragma unroll
  for (int turn = 0; turn < kTurns; ++turn) {
    const int row = turn * kWarps + warp_id();
    load_row(route, x0 + row * plane.xq, row < nq ? np - lane : 0, v[turn]);
  }
#pragma unroll
  for (int turn = 0; turn < kTurns; ++turn) {
#pragma unroll
    for (int k = 0; k < kRow; ++k) tile[turn * kWarps + warp_id()][lane + k] = v[turn][k];
  }
  __syncthreads();

#pragma unroll
  for (int turn = 0; turn < kTurns; ++turn) {
#pragma unroll
    for (int k = 0; k < kRow; ++k) v[turn][k] = tile[lane + k][turn * kWarps + warp_id()];
  }
  const int64_t y0 = base[0] + p0 * plane.yp + q0 + lane;
#pragma unroll
  for (int turn = 0; turn < kTurns; ++turn) {
    const int column = turn * kWarps + warp_id();
    store_row(route, y0 + column * plane.yp, column < np ? nq - lane : 0, v[turn]);
  }
}

// --- launchers ------------------------------------------------------------------------------------------------------

using Views = const TensorView* const (&)[2];  // y, x

template <class Route>
Status walk(const Context& ctx, const Axes<2>& axes, const Route& route) {
  const int64_t elements = axes.elements();
  return HN_LAUNCH((walk_kernel<Route>), ceil_div(elements, kThreads * kItems), kThreads, 0, ctx, Walk<2>(axes),
                   elements, route);
}

/// The two axes of the tiles, when there are such, and the rest.
class Tiling {
 public:
  /// Below that much on either side, most of a warp would have nothing to do, and cache lines are shared anyway.
  static constexpr int64_t kLeast = 8;

  explicit Tiling(const Axes<2>& axes) {
    const int q = axes.rank - 1;
    if (axes.strides[q][0] != 1 || axes.strides[q][1] <= 1 || axes.sizes[q] < kLeast) return;
    for (int p = q - 1; p >= 0 && p_ < 0; --p) {
      if (axes.strides[p][1] == 1 && axes.sizes[p] >= kLeast) p_ = p;
    }
    if (p_ < 0) return;
    for (int i = 0; i < q; ++i) {
      if (i != p_) outer.add(axes.sizes[i], axes.strides[i]);
    }
    plane = {Divider(), Divider(), axes.sizes[p_], axes.sizes[q], axes.strides[q][1], axes.strides[p_][0]};
  }

  explicit operator bool() const { return p_ >= 0; }

  /// Whether rows can be read and written `count` elements at a time.
  bool packs(Views views, int count) const {
    bool yes = plane.xq % count == 0 && plane.yp % count == 0;
    for (int k = 0; k < 2; ++k) {
      const auto bytes = static_cast<size_t>(count * info(views[k]->dtype).block_bytes);
      yes = yes && reinterpret_cast<uintptr_t>(views[k]->data) % bytes == 0;
      for (int i = 0; i < outer.rank; ++i) yes = yes && outer.strides[i][k] % count == 0;
    }
    return yes;
  }

  template <int kRow, class Route>
  Status launch(const Context& ctx, const Route& route) {
    const int64_t tiles_p = ceil_div(plane.np, kSide<kRow>), tiles_q = ceil_div(plane.nq, kSide<kRow>);
    plane.tiles_p = Divider(tiles_p);
    plane.tiles_q = Divider(tiles_q);
    return HN_LAUNCH((tile_kernel<Route, kRow>), outer.elements() * tiles_p * tiles_q, kThreads, 0, ctx, Walk<2>(outer),
                     plane, route);
  }

 private:
  int p_ = -1;
  Plane plane;
  Axes<2> outer;
};

template <class U>
Move<U> move_of(Views views, int64_t from = 0) {
  return {views[1]->template as<const U>() + from, views[0]->template as<U>() + from};
}

/// Elements of the size of U, in units of W. What a lone axis has left over goes by elements.
template <class U, class W>
Status move_units(const Context& ctx, Axes<2> axes, Views views) {
  constexpr int kCount = sizeof(W) / sizeof(U);
  const int64_t rest = axes.width() % kCount, whole = axes.width() - rest;
  if (rest > 0) {
    Axes<2> last = axes;
    last.sizes[0] = rest;
    HN_RETURN_IF_ERROR(walk(ctx, last, move_of<U>(views, whole)));
  }
  axes.rescale(kCount);
  return walk(ctx, axes, move_of<W>(views));
}

template <class U>
Status move(const Context& ctx, const Axes<2>& axes, Views views) {
  if (Tiling tiling(axes); tiling) {
    constexpr int kRow = sizeof(U) < 4 ? 2 : 1;  // 128 bytes a warp; bytes by fours would take too many registers
    if (kRow > 1 && tiling.packs(views, kRow)) return tiling.launch<kRow>(ctx, move_of<U>(views));
    return tiling.launch<1>(ctx, move_of<U>(views));
  }
  switch (axes.widest_pack(views, 16 / sizeof(U)) * sizeof(U)) {
    case 16:
      return move_units<U, uint4>(ctx, axes, views);
    case 8:
      return move_units<U, uint64_t>(ctx, axes, views);
    case 4:
      if constexpr (sizeof(U) <= 4) return move_units<U, uint32_t>(ctx, axes, views);
      [[fallthrough]];
    default:
      return walk(ctx, axes, move_of<U>(views));
  }
}

template <class Acc>
Status convert_elements(const Context& ctx, Axes<2> axes, Views views) {
  const TensorView &y = *views[0], &x = *views[1];
  const Conversion<Acc, 1> single{x.data, y.data, x.dtype, y.dtype};
  if (Tiling tiling(axes); tiling) return tiling.launch<1>(ctx, single);
  constexpr int kCount = 4;
  if (!axes.packs(views, kCount, false)) return walk(ctx, axes, single);
  const int64_t rest = axes.width() % kCount, whole = axes.width() - rest;
  if (rest > 0) {
    Axes<2> last = axes;
    last.sizes[0] = rest;
    HN_RETURN_IF_ERROR(walk(ctx, last, Conversion<Acc, 1>{x.at(whole), y.at(whole), x.dtype, y.dtype}));
  }
  axes.rescale(kCount);
  return walk(ctx, axes, Conversion<Acc, kCount>{x.data, y.data, x.dtype, y.dtype});
}

}  // namespace

Status copy_view(const Context& ctx, const TensorView& from, const TensorView& to) {
  if (to.elements() == 0) return {};
  const TensorView* views[] = {&to, &from};
  const Axes<2> axes(views);
  if (!axes.walkable()) return kTooLong;
  if (from.dtype != to.dtype) {
    if (!is_float(from.dtype)) return convert_elements<int64_t>(ctx, axes, views);
    const bool wide = from.dtype == DType::f64 || to.dtype == DType::f64;
    return wide ? convert_elements<double>(ctx, axes, views) : convert_elements<float>(ctx, axes, views);
  }
  switch (info(to.dtype).block_bytes) {
    case 1:
      return move<uint8_t>(ctx, axes, views);
    case 2:
      return move<uint16_t>(ctx, axes, views);
    case 4:
      return move<uint32_t>(ctx, axes, views);
    default:
      return move<uint64_t>(ctx, axes, views);
  }
}

HN_SUPPORTS(copy, kAllTypes);

Status copy(const Context& ctx, const CopyArgs& a) { return copy_view(ctx, a.x, a.y); }

}  // namespace hn::cuda
