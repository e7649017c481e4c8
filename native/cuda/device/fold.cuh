// Folds a tensor over any of its axes: sums, extremes, the place of one.
//
// A Fold says what is gathered: its State, how elements and other states join it, and what becomes of each output's.
// Two ways of walking, by which axis lies densest in memory:
//   rows     a reduced one: 8, 32 or 256 threads share the elements of one output
//   columns  a kept one: threads stand side by side on outputs and walk down them, in slices that are joined at the end
// Where outputs are few, each is cut into segments whose states a second kernel joins. Cuts follow from shapes and
// layout alone and every order is fixed, so results are the same bytes on every device.
#pragma once

#include <algorithm>

#include "cuda/device/fold_plan.cuh"
#include "cuda/device/reduce.cuh"
#include "cuda/launch.h"

namespace hn::cuda {

constexpr int kFoldThreads = 256;
/// Packs whose loads a thread issues before it adds the first of them.
constexpr int kFoldAhead = 4;

struct Nothing {};

// --- how it is cut --------------------------------------------------------------------------------------------------

/// Groups of `units` elements or rows, cut into segments of a multiple of `least` so that there are about a thousand at
/// most. A group of no units has one, which finds nothing.
class Segments {
 public:
  static constexpr int64_t kMost = 1024;

  Segments(int64_t groups, int64_t units, int64_t least, int64_t most = kMost) : units_(units) {
    const int64_t allowed = std::max<int64_t>(most / std::max<int64_t>(groups, 1), 1);
    length_ = std::max<int64_t>(ceil_div(ceil_div(units, allowed), least), 1) * least;
    per_group_ = Divider(std::max<int64_t>(ceil_div(units, length_), 1));
    count_ = groups * per_group();
  }

  int64_t per_group() const { return per_group_.divisor(); }
  int64_t count() const { return count_; }

  struct Place {
    int64_t group, segment, begin, end;
  };
  HN_DEVICE Place place(int64_t n) const {
    Place at;
    at.segment = per_group_.split(n);
    at.group = n;
    at.begin = at.segment * length_;
    at.end = min(at.begin + length_, units_);
    return at;
  }

 private:
  int64_t units_, length_, count_;
  Divider per_group_;
};

/// A fold as kernels get it. parts: [segments, outputs], or nullptr where states are finished at once.
template <class Source, class Fold>
struct FoldWork {
  Source x;
  RowMap kept, reduced;
  Segments segments;
  int64_t outputs;
  Fold fold;
  typename Fold::State* parts;

  HN_DEVICE void leave(int64_t segment, int64_t output, const typename Fold::State& state) const {
    if (parts != nullptr) {
      parts[segment * outputs + output] = state;
    } else {
      fold.finish(output, state);
    }
  }
};

// --- kernels --------------------------------------------------------------------------------------------------------

template <int kRowThreads, class Source, class Fold>
__global__ void __launch_bounds__(kFoldThreads, 1) fold_rows_kernel(FoldWork<Source, Fold> work) {
  constexpr int kCount = Source::kCount;
  constexpr int64_t kStep = kRowThreads * kCount, kBlockRows = kFoldThreads / kRowThreads;
  using State = typename Fold::State;
  using Value = typename Source::Value;
  const Source& x = work.x;
  const Fold& fold = work.fold;
  // Segments are of one output, and rows that are not of whole blocks are not cut.
  typename Segments::Place at = work.segments.place(kBlockRows > 1 ? 0 : blockIdx.x);
  if constexpr (kBlockRows > 1) {
    at.group = static_cast<int64_t>(blockIdx.x) * kBlockRows + threadIdx.x / kRowThreads;
    if (at.group >= work.outputs) at.end = at.begin;
  }
  const int64_t output = at.group;
  const int lane = static_cast<int>(threadIdx.x) % kRowThreads;
  const auto aside = output < work.outputs ? fold.aside(output) : typename Fold::Aside{};
  const int64_t base = work.kept(output);

  State state = Fold::identity();
  int64_t i = at.begin + lane * kCount;
  for (; i + (kFoldAhead - 1) * kStep + kCount <= at.end; i += kFoldAhead * kStep) {
    Value v[kFoldAhead][kCount];
#pragma unroll
    for (int u = 0; u < kFoldAhead; ++u) x.load(base + work.reduced(i + u * kStep), v[u]);
    fold.choose([&](auto add) {
#pragma unroll
      for (int u = 0; u < kFoldAhead; ++u) {
#pragma unroll
        for (int k = 0; k < kCount; ++k) add(state, v[u][k], i + u * kStep + k, aside);
      }
    });
  }
  for (; i + kCount <= at.end; i += kStep) {
    Value v[kCount];
    x.load(base + work.reduced(i), v);
    fold.choose([&](auto add) {
#pragma unroll
      for (int k = 0; k < kCount; ++k) add(state, v[k], i + k, aside);
    });
  }
  if constexpr (kCount > 1) {
    for (int k = 0; k < kCount && i + k < at.end; ++k) {
      Value v[1];
      x.load(base + work.reduced(i + k), v);
      fold.choose([&](auto add) { add(state, v[0], i + k, aside); });
    }
  }

  const auto join = [](const State& a, const State& b) { return Fold::join(a, b); };
  if constexpr (kBlockRows > 1) {
    state = warp_reduce<kRowThreads>(state, join);
  } else {
    state = block_reduce<kFoldThreads>(state, join, Fold::identity());
  }
  if (lane == 0 && output < work.outputs) work.leave(at.segment, output, state);
}

/// A thread's pack of columns: all of it, or the first few outputs of the last pack.
template <bool kWhole, class Source, class Fold>
HN_DEVICE void fold_down(const FoldWork<Source, Fold>& work, int64_t output, int64_t begin, int64_t end, int step,
                         typename Fold::State (&states)[Source::kCount]) {
  constexpr int kCount = Source::kCount;
  using Value = typename Source::Value;
  const int64_t base = work.kept(output), left = work.outputs - output;
  typename Fold::Aside asides[kCount];
#pragma unroll
  for (int k = 0; k < kCount; ++k) {
    if (kWhole || k < left) asides[k] = work.fold.aside(output + k);
  }

  int64_t row = begin;
  if constexpr (kWhole) {
    for (; row + (kFoldAhead - 1) * step < end; row += kFoldAhead * step) {
      Value v[kFoldAhead][kCount];
#pragma unroll
      for (int u = 0; u < kFoldAhead; ++u) work.x.load(base + work.reduced(row + u * step), v[u]);
      work.fold.choose([&](auto add) {
#pragma unroll
        for (int u = 0; u < kFoldAhead; ++u) {
#pragma unroll
          for (int k = 0; k < kCount; ++k) add(states[k], v[u][k], row + u * step, asides[k]);
        }
      });
    }
  }
  for (; row < end; row += step) {
    const int64_t from = base + work.reduced(row);
    Value v[kCount];
    if constexpr (kWhole) {
      work.x.load(from, v);
    } else {
#pragma unroll
      for (int k = 0; k < kCount; ++k) {
        Value one[1] = {};
        if (k < left) work.x.load(from + k, one);
        v[k] = one[0];
      }
    }
    work.fold.choose([&](auto add) {
#pragma unroll
      for (int k = 0; k < kCount; ++k) {
        if (kWhole || k < left) add(states[k], v[k], row, asides[k]);
      }
    });
  }
}

template <int kLanes, class Source, class Fold>
__global__ void __launch_bounds__(kFoldThreads, 1) fold_columns_kernel(FoldWork<Source, Fold> work) {
  constexpr int kCount = Source::kCount, kTile = kLanes * kCount, kSlices = kFoldThreads / kLanes;
  static_assert(kSlices == 1 || kTile <= kFoldThreads);
  using State = typename Fold::State;
  const typename Segments::Place at = work.segments.place(blockIdx.x);
  const int lane = static_cast<int>(threadIdx.x) % kLanes, slice = static_cast<int>(threadIdx.x) / kLanes;
  const int64_t first = at.group * kTile, output = first + lane * kCount;

  State states[kCount];
#pragma unroll
  for (int k = 0; k < kCount; ++k) states[k] = Fold::identity();
  if (output + kCount <= work.outputs) {
    fold_down<true>(work, output, at.begin + slice, at.end, kSlices, states);
  } else if (kCount > 1 && output < work.outputs) {
    fold_down<false>(work, output, at.begin + slice, at.end, kSlices, states);
  }

  if constexpr (kSlices == 1) {
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      if (output + k < work.outputs) work.leave(at.segment, output + k, states[k]);
    }
  } else {
    HN_SHARED(State, table, [kSlices][kTile]);
#pragma unroll
    for (int k = 0; k < kCount; ++k) table[slice][lane * kCount + k] = states[k];
    __syncthreads();
    const int column = static_cast<int>(threadIdx.x);
    if (column >= kTile || first + column >= work.outputs) return;
    State sum = table[0][column];
    for (int s = 1; s < kSlices; ++s) sum = Fold::join(sum, table[s][column]);
    work.leave(at.segment, first + column, sum);
  }
}

// --- launchers ------------------------------------------------------------------------------------------------------

/// Joins what segments have left.
template <class Fold>
struct JoinStates : Fold {
  using Aside = Nothing;
  HN_DEVICE Aside aside(int64_t) const { return {}; }
  template <class Fn>
  HN_DEVICE void choose(Fn&& fn) const {
    fn([](typename Fold::State& state, const typename Fold::State& next, int64_t, Aside) {
      state = Fold::join(state, next);
    });
  }
};

template <class Fold>
Status join_segments(const Context& ctx, const Fold& fold, const typename Fold::State* parts, int64_t segments,
                     int64_t outputs) {
  constexpr int kLanes = 8;
  TensorView table;
  table.rank = 2;
  table.shape[0] = segments;
  table.shape[1] = table.strides[0] = outputs;
  table.strides[1] = 1;
  using Source = StateSource<typename Fold::State>;
  const FoldPlan plan(table, 1u);
  const int64_t tiles = ceil_div(outputs, kLanes);
  const FoldWork<Source, JoinStates<Fold>> work{
      {parts}, plan.kept.map(), plan.reduced.map(), Segments(tiles, segments, segments, 1), outputs, {fold}, nullptr};
  return HN_LAUNCH((fold_columns_kernel<kLanes, Source, JoinStates<Fold>>), tiles, kFoldThreads, 0, ctx, work);
}

/// Calls fold.finish for every output of the plan.
template <class Source, class Fold>
Status fold_axes(const Context& ctx, const Source& x, const FoldPlan& plan, const Fold& fold) {
  // Elements, or rows, that a thread takes at least where an output is cut.
  constexpr int kLeast = 2 * kFoldAhead;
  const int64_t outputs = plan.outputs(), count = plan.count();
  using Work = FoldWork<Source, Fold>;
  const auto whole = [&] {
    return Work{x, plan.kept.map(), plan.reduced.map(), Segments(1, count, count + 1), outputs, fold, nullptr};
  };
  const auto cut = [&](int64_t groups, int64_t least, auto&& launch) -> Status {
    Work work{x, plan.kept.map(), plan.reduced.map(), Segments(groups, count, least), outputs, fold, nullptr};
    const int64_t segments = work.segments.per_group();
    if (segments > 1) {
      work.parts = ctx.workspace<typename Fold::State>(segments * outputs);
      if (work.parts == nullptr) return Status::no_memory();
    }
    HN_RETURN_IF_ERROR(launch(work));
    return segments > 1 ? join_segments(ctx, fold, work.parts, segments, outputs) : Status{};
  };

  if (plan.columns) {
    // Few rows, or so many outputs that one thread for each is enough: nothing to join.
    const int64_t packs = ceil_div(outputs, Source::kCount);
    if (count <= 16 || (count <= 256 && packs >= 32768)) {
      const int64_t tiles = ceil_div(packs, kFoldThreads);
      Work work = whole();
      work.segments = Segments(tiles, count, count + 1);
      return HN_LAUNCH((fold_columns_kernel<kFoldThreads, Source, Fold>), tiles, kFoldThreads, 0, ctx, work);
    }
    // Packs of eight lanes are a line of 128 bytes.
    constexpr int kLanes = Source::kCount > 1 ? 8 : kWarp;
    return cut(ceil_div(packs, kLanes), kFoldThreads / kLanes * kLeast, [&](const Work& work) {
      return HN_LAUNCH((fold_columns_kernel<kLanes, Source, Fold>), work.segments.count(), kFoldThreads, 0, ctx, work);
    });
  }
  if (count <= 64) {
    return HN_LAUNCH((fold_rows_kernel<8, Source, Fold>), ceil_div(outputs, kFoldThreads / 8), kFoldThreads, 0, ctx,
                     whole());
  }
  if (count <= 1024) {
    return HN_LAUNCH((fold_rows_kernel<kWarp, Source, Fold>), ceil_div(outputs, kFoldThreads / kWarp), kFoldThreads, 0,
                     ctx, whole());
  }
  return cut(outputs, kFoldThreads * kLeast, [&](const Work& work) {
    return HN_LAUNCH((fold_rows_kernel<kFoldThreads, Source, Fold>), work.segments.count(), kFoldThreads, 0, ctx, work);
  });
}

}  // namespace hn::cuda
