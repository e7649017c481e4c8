// The gated residual of a transformer block: out = x + y · gate, rows of C elements.
//   dx = dout (no kernel);  dy = dout · gate;  dgate = Σ dout · y over the rows that share a row of gate
// gate has a row for each group of consecutive rows of x: [B, C] beside [B, S, C], or a row for each row.
// Bound by memory: two reads and a write forward; backward two reads and a write.
#include "core/generated/norm.h"
#include "cpu/context.h"
#include "cpu/kernels/dispatch.h"
#include "cpu/kernels/rows.h"
#include "cpu/kernels/scratch.h"
#include "cpu/kernels/shares.h"

namespace hn::cpu::HN_ISA {
namespace {

template <class Acc>
Status forward(const Context& ctx, const GateResidualArgs& a) {
  const Rows<Acc> x(a.x), y(a.y), gate(a.gate), out(a.out);
  const int64_t width = x.width(), rows = a.x.rows(), chunk = rows_per_chunk(width);
  if (rows == 0) return {};
  const int64_t per_group = rows / a.gate.rows();
  const Scratch<Acc> scratch(ctx, 4 * width);
  if (!scratch.ok()) return Status::no_memory();
  ctx.parallel_for(ceil_div(rows, chunk), [&](int64_t c) {
    const typename Scratch<Acc>::Lease lease(scratch);
    Acc *x_row = lease.data(), *y_row = x_row + width, *gate_row = y_row + width, *out_row = gate_row + width;
    int64_t group = -1;
    const Acc* f = nullptr;
    for (int64_t row = c * chunk; row < rows && row < (c + 1) * chunk; ++row) {
      if (row / per_group != group) f = gate.load(group = row / per_group, gate_row);
      const Acc *u = x.load(row, x_row), *v = y.load(row, y_row);
      Acc* o = out.open(row, out_row);
      for (int64_t i = 0; i < width; ++i) o[i] = u[i] + v[i] * f[i];
      out.finish(row, o);
    }
  });
  return {};
}

template <class Acc>
Status backward(const Context& ctx, const GateResidualBackwardArgs& a) {
  const Rows<Acc> dout(a.dout), y(a.y), gate(a.gate), dy(a.dy), dgate(a.dgate);
  const int64_t width = dout.width(), rows = a.dout.rows(), groups = a.gate.rows();
  const bool by_row = rows == groups;
  const RowChunks chunks(by_row ? 1 : groups, by_row || groups == 0 ? rows : rows / groups, width);
  const bool sums = a.dgate && !by_row;
  const Scratch<Acc> scratch(ctx, 4 * width);
  Acc* shares = sums ? ctx.workspace<Acc>((chunks.count() + 1) * width) : nullptr;
  if (!scratch.ok() || (sums && shares == nullptr)) return Status::no_memory();
  ctx.parallel_for(chunks.count(), [&](int64_t c) {
    const typename Scratch<Acc>::Lease lease(scratch);
    Acc *grad = lease.data(), *y_row = grad + width, *gate_row = y_row + width, *out = gate_row + width;
    Acc* share = sums ? shares + c * width : nullptr;
    if (share != nullptr)
      for (int64_t i = 0; i < width; ++i) share[i] = 0;
    for (int64_t row = chunks.begin(c); row < chunks.end(c); ++row) {
      const Acc* g = dout.load(row, grad);
      if (a.dy) {
        const Acc* f = gate.load(by_row ? row : chunks.group(c), gate_row);
        Acc* o = dy.open(row, out);
        for (int64_t i = 0; i < width; ++i) o[i] = g[i] * f[i];
        dy.finish(row, o);
      }
      if (!a.dgate) continue;
      const Acc* v = y.load(row, y_row);
      Acc* sum = by_row ? dgate.open(row, out) : share;
      for (int64_t i = 0; i < width; ++i) sum[i] = (by_row ? Acc(0) : sum[i]) + g[i] * v[i];
      if (by_row) dgate.finish(row, sum);
    }
  });
  if (sums) store_share_sums(ctx, shares, width, chunks, a.dgate);
  return {};
}

}  // namespace

Status gate_residual(const Context& ctx, const GateResidualArgs& a) {
  return with_float_acc(a.x.dtype, [&](auto acc) { return forward<decltype(acc)>(ctx, a); });
}

Status gate_residual_backward(const Context& ctx, const GateResidualBackwardArgs& a) {
  return with_float_acc(a.dout.dtype, [&](auto acc) { return backward<decltype(acc)>(ctx, a); });
}

}  // namespace hn::cpu::HN_ISA
