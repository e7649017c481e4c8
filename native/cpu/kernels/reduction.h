// Folds a tensor, or two of one shape element by element, over any of its axes.
//
// A Fold says what is gathered: its State, and how runs of elements and other states join it. The work is cut into
// segments whose size depends on the shape only, and their states are joined in order, so results do not depend on the
// number of threads. Two ways of walking, by the innermost axis:
//   reduced: each segment is some elements of one output (blocks of consecutive elements, whatever axes they cross)
//   kept:    each segment is some rows; a state for each column of a tile, rows added one after the other
#pragma once

#include "core/op_call.h"
#include "cpu/kernels/elementwise.h"
#include "cpu/kernels/rows.h"

namespace hn::cpu::HN_ISA {

/// The reduced axes of an op as a set of bits.
inline unsigned axis_bits(const IntList& axes) {
  unsigned bits = 0;
  for (int32_t i = 0; i < axes.count; ++i) bits |= 1u << axes[i];
  return bits;
}

/// States that are kept on the stack at a time: a tile of columns, or a group of outputs.
constexpr int64_t kStateTile = 1024;

/// Parts of rows that follow on each other; a Fold's rows<4>() takes them together, so that states are loaded and
/// stored less often, and its rows<1>() only the first.
template <class Acc>
using Four = const Acc* [4];

template <class Acc>
class Reduction {
 public:
  /// b may be missing; else it has a's shape, with strides of its own.
  Reduction(const TensorView& a, const TensorView& b, unsigned reduced) : a_(a, reduced), b_(b, reduced), pair_(b) {
    for (int i = 0; i < a.rank; ++i) {
      ((reduced >> i & 1) != 0 ? count_ : outputs_) *= a.shape[i];
      if (a.shape[i] != 1) columns_ = (reduced >> i & 1) == 0;
    }
    if (columns_) width_ = a_.kept.shape[a_.kept.rank - 1];
    for (int i = a.rank - 1; columns_ && pair_ && i >= 0; --i) {
      // Merging may have gone further for one than for the other; rows are the shorter of the two.
      const int64_t other = b_.kept.rank > 0 ? b_.kept.shape[b_.kept.rank - 1] : 1;
      width_ = width_ < other ? width_ : other;
    }
  }

  int64_t outputs() const { return outputs_; }
  int64_t count() const { return count_; }

  /// Calls finish(first output, number, states) for all outputs, in any order and from any thread.
  template <class Fold, class Finish>
  Status run(const Context& ctx, const Finish& finish) const {
    return columns_ ? by_columns<Fold>(ctx, finish) : by_elements<Fold>(ctx, finish);
  }

 private:
  struct Side {
    Side(const TensorView& t, unsigned reduced_bits) : view(t) {
      for (int i = 0; t && i < t.rank; ++i)
        ((reduced_bits >> i & 1) != 0 ? reduced : kept).add(t.shape[i], t.strides[i]);
      if (t) load = load_row<Acc>(t.dtype);
    }
    /// n elements with their stride from an offset on.
    const Acc* row(int64_t offset, int64_t stride, int64_t n, Acc* scratch) const {
      if (stride == 1 && view.dtype == kAccType<Acc>) return static_cast<const Acc*>(view.at(offset));
      load(view.at(offset), stride, n, scratch);
      return scratch;
    }
    TensorView view;
    MergedAxes kept, reduced;
    LoadRow<Acc> load = nullptr;
  };

  /// Joins, in order, the states that `segments` segments left for each output: parts[segment · outputs + output].
  template <class Fold, class Finish>
  void join(const Context& ctx, typename Fold::State* parts, int64_t segments, const Finish& finish) const {
    ctx.parallel_for(ceil_div(outputs_, kStateTile), [&](int64_t tile) {
      const int64_t first = tile * kStateTile, left = outputs_ - first, n = left < kStateTile ? left : kStateTile;
      typename Fold::State* sum = parts + first;
      for (int64_t s = 1; s < segments; ++s)
        for (int64_t i = 0; i < n; ++i) sum[i] = Fold::join(sum[i], parts[s * outputs_ + first + i]);
      finish(first, n, sum);
    });
  }

  template <class Fold, class Finish>
  Status by_elements(const Context& ctx, const Finish& finish) const {
    using State = typename Fold::State;
    const Runs<Acc> a(a_.view, a_.reduced), b(b_.view, b_.reduced);
    const int64_t segments = count_ > kChunkElements ? ceil_div(count_, kChunkElements) : 1;
    const Scratch<Acc> scratch(ctx, 2 * kBlockElements);
    State* parts = segments > 1 ? ctx.workspace<State>(segments * outputs_) : nullptr;
    if (!scratch.ok() || (segments > 1 && parts == nullptr)) return Status::no_memory();
    const auto segment = [&](int64_t output, int64_t s, Acc* blocks) {
      const int64_t base_a = a_.kept.offset(output), base_b = b_.kept.offset(output);
      const int64_t after = (s + 1) * kChunkElements, end = after < count_ ? after : count_;
      State state = Fold::identity();
      for (int64_t start = s * kChunkElements; start < end; start += kBlockElements) {
        const int64_t n = end - start < kBlockElements ? end - start : kBlockElements;
        const Acc* u = a.load(start, n, blocks, base_a);
        const Acc* v = pair_ ? b.load(start, n, blocks + kBlockElements, base_b) : nullptr;
        state = Fold::join(state, Fold::elements(u, v, n, start));
      }
      return state;
    };
    if (segments > 1) {
      ctx.parallel_for(segments * outputs_, [&](int64_t i) {
        const typename Scratch<Acc>::Lease lease(scratch);
        parts[i] = segment(i % outputs_, i / outputs_, lease.data());
      });
      join<Fold>(ctx, parts, segments, finish);
      return {};
    }
    const int64_t many = rows_per_chunk(count_), group = many < kStateTile ? many : kStateTile;
    ctx.parallel_for(ceil_div(outputs_, group), [&](int64_t g) {
      const typename Scratch<Acc>::Lease lease(scratch);
      const int64_t first = g * group, left = outputs_ - first, n = left < group ? left : group;
      State states[kStateTile];
      for (int64_t i = 0; i < n; ++i) states[i] = segment(first + i, 0, lease.data());
      finish(first, n, states);
    });
    return {};
  }

  template <class Fold, class Finish>
  Status by_columns(const Context& ctx, const Finish& finish) const {
    using State = typename Fold::State;
    // Enough rows a segment that reading and writing its states costs little beside reading the rows.
    const int64_t tile = width_ < kStateTile ? width_ : kStateTile, tiles = ceil_div(width_, tile > 0 ? tile : 1);
    const int64_t rows = 4 * kChunkElements / (tile > 0 ? tile : 1);
    const int64_t segments = count_ > rows ? ceil_div(count_, rows) : 1;
    const int64_t items = width_ > 0 ? outputs_ / width_ * tiles * segments : 0;
    const Scratch<Acc> scratch(ctx, 8 * kStateTile);
    State* parts = segments > 1 ? ctx.workspace<State>(segments * outputs_) : nullptr;
    if (!scratch.ok() || (segments > 1 && parts == nullptr)) return Status::no_memory();
    const int64_t item_elements = tile * (count_ < rows ? count_ : rows), group = rows_per_chunk(item_elements);
    ctx.parallel_for(ceil_div(items, group), [&](int64_t g) {
      const typename Scratch<Acc>::Lease lease(scratch);
      for (int64_t i = g * group; i < items && i < (g + 1) * group; ++i) {
        const int64_t s = i % segments, t = i / segments % tiles, outer = i / segments / tiles;
        const int64_t left = width_ - t * tile, n = left < tile ? left : tile;
        const int64_t first = outer * width_ + t * tile;
        State states[kStateTile];
        const int64_t after = (s + 1) * rows, end = after < count_ ? after : count_;
        add_rows<Fold>(first, n, s * rows, end, lease.data(), states);
        if (parts == nullptr) finish(first, n, states);
        for (int64_t c = 0; parts != nullptr && c < n; ++c) parts[s * outputs_ + first + c] = states[c];
      }
    });
    if (parts != nullptr) join<Fold>(ctx, parts, segments, finish);
    return {};
  }

  /// The states of n neighbouring outputs from `first` on, over rows [begin, end).
  template <class Fold>
  void add_rows(int64_t first, int64_t n, int64_t begin, int64_t end, Acc* scratch,
                typename Fold::State* states) const {
    for (int64_t c = 0; c < n; ++c) states[c] = Fold::identity();
    const int64_t base_a = a_.kept.offset(first), base_b = b_.kept.offset(first);
    const int64_t stride_a = last_stride(a_), stride_b = last_stride(b_);
    for (int64_t r = begin; r < end;) {
      const int64_t many = end - r < 4 ? 1 : 4;
      Four<Acc> u = {}, v = {};
      for (int64_t k = 0; k < many; ++k) {
        Acc* const blocks = scratch + 2 * k * kStateTile;
        u[k] = a_.row(base_a + a_.reduced.offset(r + k), stride_a, n, blocks);
        if (pair_) v[k] = b_.row(base_b + b_.reduced.offset(r + k), stride_b, n, blocks + kStateTile);
      }
      if (many == 4)
        Fold::template rows<4>(states, u, v, n, r);
      else
        Fold::template rows<1>(states, u, v, n, r);
      r += many;
    }
  }
  static int64_t last_stride(const Side& side) {
    return side.kept.rank > 0 ? side.kept.strides[side.kept.rank - 1] : 0;
  }

  Side a_, b_;
  bool pair_;
  bool columns_ = false;
  int64_t outputs_ = 1, count_ = 1;
  int64_t width_ = 1;  // outputs next to each other in both tensors
};

// --- sums of a function of one element, or of two ---

/// Integers add up in uint64_t, where overflow is defined.
template <class Acc>
struct SumOf {
  using State = double;
};
template <>
struct SumOf<int64_t> {
  using State = uint64_t;
};

struct Value {
  template <class State, class Acc>
  static State of(Acc u, const Acc*, int64_t) {
    return static_cast<State>(u);
  }
};
struct Square {
  template <class State, class Acc>
  static State of(Acc u, const Acc*, int64_t) {
    return static_cast<State>(u) * static_cast<State>(u);
  }
};
struct SquaredDistance {
  template <class State, class Acc>
  static State of(Acc u, const Acc* v, int64_t i) {
    const State d = static_cast<State>(u) - static_cast<State>(v[i]);
    return d * d;
  }
};
struct Distance {
  template <class State, class Acc>
  static State of(Acc u, const Acc* v, int64_t i) {
    return __builtin_fabs(static_cast<State>(u) - static_cast<State>(v[i]));
  }
};
struct Equal {
  template <class State, class Acc>
  static State of(Acc u, const Acc* v, int64_t i) {
    return u == v[i] ? State(1) : State(0);
  }
};

template <class Acc, class Term>
struct SumFold {
  using State = typename SumOf<Acc>::State;
  static State identity() { return 0; }
  static State join(State a, State b) { return a + b; }
  static State elements(const Acc* u, const Acc* v, int64_t n, int64_t) {
    return sum_of<State>(n, [=](int64_t i) { return Term::template of<State>(u[i], v, i); });
  }
  template <int kRows>
  static void rows(State* states, const Four<Acc>& u, const Four<Acc>& v, int64_t n, int64_t) {
    const Acc *a = u[0], *b = u[1], *c = u[2], *d = u[3];
    for (int64_t i = 0; i < n; ++i) {
      State sum = Term::template of<State>(a[i], v[0], i);
      if constexpr (kRows == 4) {
        sum += Term::template of<State>(b[i], v[1], i);
        sum += Term::template of<State>(c[i], v[2], i) + Term::template of<State>(d[i], v[3], i);
      }
      states[i] += sum;
    }
  }
};

/// Row-major view of `values`, one for each output, walked as if it had x's shape: 0 strides along the reduced axes.
inline TensorView spread_outputs(const TensorView& x, unsigned reduced, double* values) {
  TensorView view = x;
  view.data = values;
  view.dtype = DType::f64;
  int64_t step = 1;
  for (int i = x.rank - 1; i >= 0; --i) {
    const bool kept = (reduced >> i & 1) == 0;
    view.strides[i] = kept ? step : 0;
    if (kept) step *= x.shape[i];
  }
  return view;
}

}  // namespace hn::cpu::HN_ISA
