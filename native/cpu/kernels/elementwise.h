// Elementwise ops: tensors walked by flat index in small blocks, each operand by its own strides.
//
// All operands are views of the output's shape (0 strides where one is broadcast). A block of a dense operand is read
// in place when it has the type that the op computes in; any other block is gathered, run by run, into scratch memory
// that stays in the first-level cache. So one loop serves dense, sliced, transposed and broadcast operands of every
// type.
#pragma once

#include <utility>

#include "core/tensor_view.h"
#include "cpu/context.h"
#include "cpu/kernels/convert.h"
#include "cpu/kernels/dispatch.h"
#include "cpu/kernels/scratch.h"

namespace hn::cpu::HN_ISA {

/// Elements handled at a time. Four operands of this many floats fill a first-level cache of 32 KiB.
constexpr int64_t kBlockElements = 2048;

/// Axes with those of size 1 dropped and neighbours merged where the strides allow: as few and as long runs as
/// possible.
struct MergedAxes {
  int rank = 0;
  int64_t shape[kMaxRank], strides[kMaxRank];

  /// Axes come outermost first.
  void add(int64_t size, int64_t stride) {
    if (size == 1) return;
    if (rank > 0 && strides[rank - 1] == size * stride) {
      shape[rank - 1] *= size;
      strides[rank - 1] = stride;
    } else {
      shape[rank] = size;
      strides[rank++] = stride;
    }
  }
  int64_t elements() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= shape[i];
    return n;
  }
  /// Where the element of this flat index lies.
  int64_t offset(int64_t index) const {
    int64_t sum = 0;
    for (int i = rank - 1; i > 0; --i) {
      sum += index % shape[i] * strides[i];
      index /= shape[i];
    }
    return rank > 0 ? sum + index * strides[0] : 0;
  }
};

/// The elements of a tensor, or of some of its axes, in order.
template <class Acc>
class Runs {
 public:
  explicit Runs(const TensorView& t) : Runs(t, all_axes(t)) {}
  Runs(const TensorView& t, const MergedAxes& axes) : view_(t), axes_(axes) {
    if (!t) return;
    load_ = load_row<Acc>(t.dtype);
    store_ = store_row<Acc>(t.dtype);
    dense_ = axes_.rank == 0 || (axes_.rank == 1 && axes_.strides[0] == 1);
  }

  /// True when every index leads to the same element.
  bool single_value() const { return axes_.rank == 0 || (axes_.rank == 1 && axes_.strides[0] == 0); }

  /// Elements [start, start + n), the tensor shifted by `base` elements: in place where possible, else in `scratch`.
  const Acc* load(int64_t start, int64_t n, Acc* scratch, int64_t base = 0) const {
    if (dense_) {
      const void* from = view_.at(base + start);
      if (view_.dtype == kAccType<Acc>) return static_cast<const Acc*>(from);
      load_(from, 1, n, scratch);
      return scratch;
    }
    const int64_t stride = axes_.strides[axes_.rank - 1];
    each_run(start, n, [&](int64_t offset, int64_t done, int64_t run) {
      const void* from = view_.at(base + offset);
      if (stride != 0) return load_(from, stride, run, scratch + done);
      load_(from, 1, 1, scratch + done);
      for (int64_t i = 1; i < run; ++i) scratch[done + i] = scratch[done];
    });
    return scratch;
  }

  /// Where to write elements from `start` on: in place where possible, else `scratch`, which `finish` then stores.
  Acc* open(int64_t start, Acc* scratch) const {
    return dense_ && view_.dtype == kAccType<Acc> ? static_cast<Acc*>(view_.at(start)) : scratch;
  }
  void finish(int64_t start, int64_t n, const Acc* values) const {
    if (!dense_)
      return each_run(start, n, [&](int64_t offset, int64_t done, int64_t run) {
        store_(view_.at(offset), axes_.strides[axes_.rank - 1], run, values + done);
      });
    void* to = view_.at(start);
    if (to != values) store_(to, 1, n, values);
  }

 private:
  static MergedAxes all_axes(const TensorView& t) {
    MergedAxes axes;
    for (int i = 0; i < t.rank; ++i) axes.add(t.shape[i], t.strides[i]);
    return axes;
  }

  /// Calls fn(offset, elements done before, length) for each run along the last axis in [start, start + n).
  template <class Fn>
  void each_run(int64_t start, int64_t n, Fn&& fn) const {
    const int last = axes_.rank - 1;
    const int64_t *shape = axes_.shape, *strides = axes_.strides;
    int64_t index[kMaxRank], offset = 0, rest = start;
    for (int i = last; i >= 0; --i) {
      index[i] = rest % shape[i];
      rest /= shape[i];
      offset += index[i] * strides[i];
    }
    for (int64_t done = 0; done < n;) {
      const int64_t left = shape[last] - index[last], run = left < n - done ? left : n - done;
      fn(offset, done, run);
      done += run;
      index[last] += run;
      offset += run * strides[last];
      for (int i = last; i > 0 && index[i] == shape[i]; --i) {
        offset += strides[i - 1] - index[i] * strides[i];
        index[i] = 0;
        ++index[i - 1];
      }
    }
  }

  TensorView view_;
  MergedAxes axes_;
  bool dense_ = false;
  LoadRow<Acc> load_ = nullptr;
  StoreRow<Acc> store_ = nullptr;
};

/// An input of an elementwise op: a tensor, or a number where no tensor is given.
template <class Acc>
class Operand {
 public:
  explicit Operand(const TensorView& t, Acc number = Acc(0)) : runs_(t), constant_(!t), value_(number) {
    if (!t || !runs_.single_value() || t.elements() == 0) return;
    constant_ = true;
    value_ = *runs_.load(0, 1, &value_);
  }

  /// Before the first block: constants are spread over the scratch block once, not block by block.
  void prepare(Acc* scratch) const {
    for (int64_t i = 0; constant_ && i < kBlockElements; ++i) scratch[i] = value_;
  }
  const Acc* load(int64_t start, int64_t n, Acc* scratch) const {
    return constant_ ? scratch : runs_.load(start, n, scratch);
  }

 private:
  Runs<Acc> runs_;
  bool constant_;
  Acc value_;
};

/// Brings an integer result computed in 64 bits back to its type, as C's unsigned arithmetic does.
class WrapTo {
 public:
  explicit WrapTo(DType type) : shift_(type == DType::i32 ? 32 : 0), mask_(type == DType::u8 ? 255 : -1) {}
  int64_t operator()(uint64_t v) const { return (static_cast<int64_t>(v << shift_) >> shift_) & mask_; }

 private:
  int shift_;
  int64_t mask_;
};

template <class Acc, class Fn, class... In>
inline void map_block(Acc* out, int64_t n, const Fn& fn, const In*... in) {
  // An output is one of the inputs, element for element, or overlaps none of them.
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) out[i] = fn(in[i]...);
}

/// out[i] = fn(operands[i]...) for every element.
template <class Acc, class Fn, class... Operands>
Status map(const Context& ctx, const TensorView& out, const Fn& fn, const Operands&... operands) {
  const Runs<Acc> target(out);
  const int64_t elements = out.elements();
  const Scratch<Acc> scratch(ctx, (sizeof...(operands) + 1) * kBlockElements);
  if (!scratch.ok()) return Status::no_memory();
  ctx.parallel_for(ceil_div(elements, kChunkElements), [&](int64_t chunk) {
    const typename Scratch<Acc>::Lease lease(scratch);
    Acc* const blocks = lease.data() + kBlockElements;
    int64_t place = 0;
    (operands.prepare(blocks + kBlockElements * place++), ...);
    const int64_t first = chunk * kChunkElements, after = first + kChunkElements;
    const int64_t end = after < elements ? after : elements;
    for (int64_t start = first; start < end; start += kBlockElements) {
      const int64_t n = end - start < kBlockElements ? end - start : kBlockElements;
      place = 0;
      const Acc* const in[] = {operands.load(start, n, blocks + kBlockElements * place++)..., nullptr};
      Acc* to = target.open(start, lease.data());
      [&]<size_t... K>(std::index_sequence<K...>) { map_block(to, n, fn, in[K]...); }
      (std::index_sequence_for<Operands...>{});
      target.finish(start, n, to);
    }
  });
  return {};
}

}  // namespace hn::cpu::HN_ISA
