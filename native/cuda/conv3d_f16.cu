// Convolutions in f16 on tensor cores (mma.sync m16n8k16), sums in f32. The math, the shapes and the bounds: conv3d.cu
// and conv3d_backward_weight.cu.
#include "cuda/device/conv_gradient.cuh"
#include "cuda/device/conv_kernel.cuh"

namespace hn::cuda {

Status conv_f16(const Context& ctx, ConvParams& p) { return launch_conv<f16>(ctx, p); }
Status conv_gradient_f16(const Context& ctx, const ConvGradientParams& p) { return launch_conv_gradient<f16>(ctx, p); }

}  // namespace hn::cuda
