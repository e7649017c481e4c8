// Tensors from numbers: one value everywhere, or start + i · step. Bound by memory: one write.
#include "core/generated/fill.h"
#include "cpu/kernels/elementwise.h"

namespace hn::cpu::HN_ISA {

Status fill(const Context& ctx, const FillArgs& a) {
  return with_acc(a.y.dtype, [&](auto acc) {
    // As cast converts: infinities saturate and NaN gives 0 in integers.
    load_row<decltype(acc)>(DType::f64)(&a.value, 1, 1, &acc);
    return map<decltype(acc)>(
        ctx, a.y, [](auto value) { return value; }, Operand<decltype(acc)>(TensorView{}, acc));
  });
}

Status arange(const Context& ctx, const ArangeArgs& a) {
  const int64_t length = a.y.elements();
  const StoreRow<double> store = store_row<double>(a.y.dtype);
  ctx.parallel_for(ceil_div(length, kBlockElements), [&](int64_t block) {
    double values[kBlockElements];
    const int64_t start = block * kBlockElements;
    const int64_t n = length - start < kBlockElements ? length - start : kBlockElements;
    // From the index each time, not by adding steps: no drift, and the same values however the range is cut.
    for (int64_t i = 0; i < n; ++i) values[i] = a.start + static_cast<double>(start + i) * a.step;
    store(a.y.at(start * a.y.stride(-1)), a.y.stride(-1), n, values);
  });
  return {};
}

}  // namespace hn::cpu::HN_ISA
