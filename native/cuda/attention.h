// The kernels behind `attention` and `attention_backward`, each in a file of its own; attention.cu chooses.
#pragma once

#include "core/generated/attention.h"
#include "cuda/context.h"

namespace hn::cuda::attn {

/// The widest heads of the tensor-core kernels: of forward_tensor_core and backward_tensor_core, of forward_wide.
constexpr int64_t kNarrowWidth = 128, kWideWidth = 512;

/// What the way back needs of each query, [B, H, Sq] in f32.
struct QueryStats {
  const float* lse_log2;  // lse in units of log 2; +inf for queries that see nothing: their probabilities come out 0
  const float* delta;     // dout · o − dlse
};

/// bf16 and f16.
Status forward_tensor_core(const Context& ctx, const AttentionArgs& a);
Status forward_wide(const Context& ctx, const AttentionArgs& a);
Status backward_tensor_core(const Context& ctx, const AttentionBackwardArgs& a, const QueryStats& stats);
/// Any head, any type of kFloats.
Status forward_plain(const Context& ctx, const AttentionArgs& a);
Status backward_plain(const Context& ctx, const AttentionBackwardArgs& a, const QueryStats& stats);

/// Shared memory of a block, which not every device has (8.6 and 8.9 have 99 KB).
int wide_shared_bytes();
int backward_shared_bytes(int64_t width);

}  // namespace hn::cuda::attn
