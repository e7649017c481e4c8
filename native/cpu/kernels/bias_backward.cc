// Gradient of a bias over the last axis: db = Σ_rows dy. Bound by memory: one read of dy.
#include "core/generated/bias.h"
#include "cpu/context.h"
#include "cpu/kernels/dispatch.h"
#include "cpu/kernels/rows.h"
#include "cpu/kernels/scratch.h"
#include "cpu/kernels/shares.h"

namespace hn::cpu::HN_ISA {
namespace {

template <class Acc>
Status sum_rows(const Context& ctx, const BiasBackwardArgs& a) {
  const Rows<Acc> dy(a.dy);
  const int64_t width = dy.width();
  const RowChunks chunks(1, a.dy.rows(), width);
  const Scratch<Acc> scratch(ctx, width);
  Acc* shares = ctx.workspace<Acc>((chunks.count() + 1) * width);
  if (!scratch.ok() || shares == nullptr) return Status::no_memory();
  ctx.parallel_for(chunks.count(), [&](int64_t c) {
    const typename Scratch<Acc>::Lease lease(scratch);
    Acc* share = shares + c * width;
    for (int64_t i = 0; i < width; ++i) share[i] = 0;
    for (int64_t row = chunks.begin(c); row < chunks.end(c); ++row) {
      const Acc* g = dy.load(row, lease.data());
      for (int64_t i = 0; i < width; ++i) share[i] += g[i];
    }
  });
  store_share_sums(ctx, shares, width, chunks, a.dbias);
  return {};
}

}  // namespace

Status bias_backward(const Context& ctx, const BiasBackwardArgs& a) {
  return with_float_acc(a.dy.dtype, [&](auto acc) { return sum_rows<decltype(acc)>(ctx, a); });
}

}  // namespace hn::cpu::HN_ISA
