// Attention and its gradients: which kernels run, and what the way back computes once for each query.
//
// bf16 and f16 go to tensor cores: heads up to 128 wide (attention_forward.cu, attention_backward.cu), and forward up
// to 512 (attention_wide.cu). f32 and the rest go to kernels of plain multiply-adds (attention_plain.cu and
// attention_plain_backward.cu). All take tensors of any strides, ragged batches, grouped key heads, causal and
// block-causal masks and a mask of keys; memory is linear in tokens, and results are the same bytes each time. Values
// of cu_seqlens are seen on the device only: a kernel of one block looks at them first and refuses what falls or leaves
// the axis; results are NaN then.
//
// Statistics of a query, for the way back:  lse · log2 e,  delta = Σ_d dout · o − dlse.  Bound by memory: o and dout
// once.
#include "cuda/attention.h"

#include "cuda/device/attention_problem.cuh"
#include "cuda/device/reduce.cuh"
#include "cuda/device/refuse.cuh"
#include "cuda/device/rows.cuh"
#include "cuda/launch.h"
#include "cuda/support.h"

namespace hn::cuda {
namespace attn {
namespace {

constexpr int kStatsThreads = 256, kStatsPack = 4;

/// Queries as they lie in memory: [B, Sq, H]; statistics are [B, H, Sq].
struct QueryAxes {
  Divider queries, heads;
};

/// One warp a query. Without dout the gradient is that of lse alone.
template <class T, int kPackSize>
__global__ void __launch_bounds__(kStatsThreads)
    query_stats_kernel(Rows<T> o, Rows<T> dout, bool has_dout, const float* lse, const float* dlse, float* lse_log2,
                       float* delta, QueryAxes axes, int64_t rows, int64_t width) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (kStatsThreads / kWarp) + warp_id();
  if (row >= rows) return;
  float sum = 0;
  if (has_dout) {
    const T *const x_row = o.row(row), *const y_row = dout.row(row);
    for (int64_t i = lane_id() * kPackSize; i < width; i += kWarp * kPackSize) {
      float x[kPackSize], y[kPackSize];
      o.load(x_row, i, x);
      dout.load(y_row, i, y);
#pragma unroll
      for (int k = 0; k < kPackSize; ++k) sum += x[k] * y[k];
    }
    sum = warp_sum(sum);
  }
  if (lane_id() != 0) return;
  int64_t batch = row;
  const int64_t head = axes.heads.split(batch), query = axes.queries.split(batch);
  const int64_t at = (batch * axes.heads.divisor() + head) * axes.queries.divisor() + query;
  delta[at] = dlse != nullptr ? sum - dlse[at] : sum;
  lse_log2[at] = lse[at] == -infinity() ? infinity() : lse[at] * kLog2E;
}

template <class T>
Status launch_stats(const Context& ctx, const AttentionBackwardArgs& a, float* lse_log2, float* delta) {
  const int64_t rows = a.q.rows(), width = a.v.dim(3);
  const bool has_dout = static_cast<bool>(a.dout);
  const TensorView& dout = has_dout ? a.dout : a.o;
  const auto launch = [&](auto pack) {
    return HN_LAUNCH((query_stats_kernel<T, pack()>), ceil_div(rows, kStatsThreads / kWarp), kStatsThreads, 0, ctx,
                     Rows<T>(a.o), Rows<T>(dout), has_dout, a.lse.as<float>(), a.dlse ? a.dlse.as<float>() : nullptr,
                     lse_log2, delta, QueryAxes{Divider(a.q.dim(1)), Divider(a.q.dim(2))}, rows, width);
  };
  constexpr int kBytes = kStatsPack * static_cast<int>(sizeof(T));
  if (packs(a.o, kBytes) && packs(dout, kBytes)) return launch(std::integral_constant<int, kStatsPack>{});
  return launch(std::integral_constant<int, 1>{});
}

constexpr int kCheckThreads = 256;

/// Whether cu begins at 0, never falls and ends within the axis; each thread says so of its own entries.
HN_DEVICE bool rises(const int32_t* cu, int segments, int64_t end) {
  bool good = true;
  for (int s = static_cast<int>(threadIdx.x); s <= segments; s += kCheckThreads) {
    good = good && cu[s] >= (s == 0 ? 0 : cu[s - 1]) && cu[s] <= (s == 0 ? 0 : end);
  }
  return good;
}

__global__ void __launch_bounds__(kCheckThreads) check_segments_kernel(Problem p, FaultWord fault) {
  const bool queries = rises(p.cu_queries, p.segments, p.queries), keys = rises(p.cu_keys, p.segments, p.keys);
  const bool queries_bad = __syncthreads_or(!queries) != 0, keys_bad = __syncthreads_or(!keys) != 0;
  if (threadIdx.x != 0) return;
  if (queries_bad) {  // spoken of first, as on the CPU
    refuse(fault, DataError::cu_seqlens);
  } else if (keys_bad) {
    refuse(fault, DataError::cu_seqlens_k);
  }
}

template <class Args>
Status check_segments(const Context& ctx, const Args& a) {
  if (!a.cu_seqlens) return {};
  return HN_LAUNCH((check_segments_kernel), 1, kCheckThreads, 0, ctx, problem_of(a), ctx.fault());
}

using Forward = Status (*)(const Context&, const AttentionArgs&);
using Backward = Status (*)(const Context&, const AttentionBackwardArgs&, const QueryStats&);

Forward choose_forward(DType dtype, int64_t width, const DeviceProperties& device) {
  if (dtype == DType::f32) return forward_plain;
  if (width <= kNarrowWidth) return forward_tensor_core;
  return width <= kWideWidth && wide_shared_bytes() <= device.max_shared_bytes ? forward_wide : forward_plain;
}

Backward choose_backward(DType dtype, int64_t width, const DeviceProperties& device) {
  if (dtype == DType::f32 || width > kNarrowWidth) return backward_plain;
  return backward_shared_bytes(width) <= device.max_shared_bytes ? backward_tensor_core : backward_plain;
}

}  // namespace
}  // namespace attn

// --- launchers -----------------------------------------------------------------------------------------------------

HN_SUPPORTS(attention, kFloats);
HN_SUPPORTS(attention_backward, kFloats);

Status attention(const Context& ctx, const AttentionArgs& a) {
  if (!attn::tokens_fit(a.q, a.k)) return Status::missing("attention: an axis of 2^30 or more elements");
  HN_RETURN_IF_ERROR(attn::check_segments(ctx, a));
  if (a.q.rows() == 0) return {};
  return attn::choose_forward(a.q.dtype, std::max(a.q.dim(3), a.v.dim(3)), ctx.device())(ctx, a);
}

Status attention_backward(const Context& ctx, const AttentionBackwardArgs& a) {
  if (!attn::tokens_fit(a.q, a.k)) return Status::missing("attention_backward: an axis of 2^30 or more elements");
  if (a.o.dtype != a.q.dtype || (a.dout && a.dout.dtype != a.q.dtype)) {
    return Status::missing("attention_backward: o or dout is of another type than q");
  }
  if (a.lse.dtype != DType::f32 || (a.dlse && a.dlse.dtype != DType::f32)) {
    return Status::missing("attention_backward: lse or dlse is not f32");
  }
  HN_RETURN_IF_ERROR(attn::check_segments(ctx, a));
  if (a.k.dim(2) == 0) return {};
  const int64_t rows = a.q.rows();
  float* const lse_log2 = ctx.workspace<float>(rows);
  float* const delta = ctx.workspace<float>(rows);
  if (lse_log2 == nullptr || delta == nullptr) return Status::no_memory();
  HN_RETURN_IF_ERROR(with_storage(
      a.q.dtype, [&](auto storage) { return attn::launch_stats<decltype(storage)>(ctx, a, lse_log2, delta); }));
  return attn::choose_backward(a.q.dtype, std::max(a.q.dim(3), a.v.dim(3)), ctx.device())(ctx, a, {lse_log2, delta});
}

}  // namespace hn::cuda
