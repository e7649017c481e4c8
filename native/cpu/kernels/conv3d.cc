// Convolution over [B, T, H, W, C], weight [Cout, kt, kh, kw, Cin]:
//   y[v, co] = bias[co] + sum over tap, ci of x[clamp(v * stride + tap - before), ci] * weight[co, tap, ci]
// as one matrix product of M = output voxels, N = Cout, K = taps * Cin whose rows are gathered on the way in
// (conv3d_taps.h): padding is index arithmetic, and no im2col buffer exists.
// FLOPs 2 M N K; bound by FMA for Cout above about 64, below that by the gathering.
#include "core/generated/conv3d.h"
#include "cpu/context.h"
#include "cpu/kernels/conv3d_gemm.h"
#include "cpu/kernels/conv3d_narrow.h"
#include "cpu/kernels/conv3d_taps.h"
#include "cpu/kernels/conv3d_winograd.h"
#include "cpu/kernels/dispatch.h"

namespace hn::cpu::HN_ISA {
namespace {

template <class Acc>
Status forward(const Context& ctx, const Conv3dArgs& a) {
  const TensorView x = with_frames(a.x), weight = with_frames(a.weight), y = with_frames(a.y);
  const bool replicate = a.pad_mode == Conv3dArgs::PadMode::replicate;
  TapAxis axes[3];
  GridAxis grid[3];
  for (int i = 0; i < 3; ++i) {
    const int64_t size = x.dim(i + 1), stride = a.stride[i], before = a.before[i];
    grid[i].count = y.dim(i + 1);
    const auto span_of = [=](int64_t position, int64_t tap) -> Span {
      return forward_span(position, tap, size, stride, before, replicate);
    };
    if (!axes[i].fill(ctx, y.dim(i + 1), weight.dim(i + 1), span_of)) return Status::no_memory();
  }
  const TapRows<Acc> taps(ctx, x, axes);
  if (!taps.ok()) return Status::no_memory();
  const int64_t channels = weight.dim(0), columns = taps.columns();
  Acc* bias = nullptr;
  if (a.bias) {
    bias = ctx.workspace<Acc>(channels + 1);
    if (bias == nullptr) return Status::no_memory();
    load_row<Acc>(a.bias.dtype)(a.bias.data, 1, channels, bias);
  }
  const Matrix matrix{weight.data, weight.dtype, columns, 1, {}};
  return gemm<Acc>(ctx, {1, taps.rows(), channels, columns}, GatheredA<Acc>(taps), TransposedB<Acc>(matrix),
                   VoxelSink<Acc>(y, grid, bias));
}

}  // namespace

Status conv3d(const Context& ctx, const Conv3dArgs& a) {
  if (a.y.elements() == 0) return {};
  if (a.x.dtype != DType::f64 && winograd_pays(a)) return conv3d_winograd(ctx, a);
  return with_float_acc(a.x.dtype, [&](auto acc) {
    return is_narrow(a) ? conv3d_narrow<decltype(acc)>(ctx, a) : forward<decltype(acc)>(ctx, a);
  });
}

}  // namespace hn::cpu::HN_ISA
