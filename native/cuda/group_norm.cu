// Group normalisation of channels-last tensors [B, ..., C]: statistics over all positions and the channels of a group.
//   n = (x − mean) · r,  r = 1 / sqrt(var + eps);   y = n · w + b, or silu of that: z · sigmoid(z)
//
// x, y [B, ..., C] of any strides, f32, bf16 or f16, and y may be x; w, b [C] of any float type. Statistics are f32 in
// a thread and double beyond a part of the positions (group_moments.cuh); y is rounded once. Positions are read in
// packs of 16 bytes where all operands allow it.
//
// Bytes: 3 · size(x), two reads and a write. FLOPs: 8 an element. Bound by memory: a decoded clip of [1, 129, 720,
// 1280, 128] in bf16 moves 91 GB; silu's two functions an element should take less than half of that time.
#include "core/generated/norm.h"
#include "cuda/device/group_moments.cuh"
#include "cuda/support.h"

namespace hn::cuda {
namespace {

template <class T, int kPackSize>
__global__ void __launch_bounds__(ChannelDeal::kThreads)
    normalize_kernel(Rows<T> x, ChannelDeal deal, Groups of, const GroupMoments* moments, AnyRows weight, AnyRows bias,
                     bool silu, Rows<T> y) {
  constexpr int kBatch = 4;
  const ChannelDeal::Place at = deal.place<kPackSize>();
  if (!at.works) return;
  const ChannelNorm<kPackSize> norm = channel_norm<kPackSize>(moments, of, weight, bias, at.span.group, at.channel);
  float v[kBatch][kPackSize], gain[kPackSize];
#pragma unroll
  for (int k = 0; k < kPackSize; ++k) gain[k] = norm.r[k] * norm.weight[k];
  at.each<kBatch>([&](int u, int64_t row) { x.load(x.row(row), at.channel, v[u]); },
                  [&](int u, int64_t row) {
#pragma unroll
                    for (int k = 0; k < kPackSize; ++k) {
                      const float z = (v[u][k] - norm.mean[k]) * gain[k] + norm.bias[k];
                      v[u][k] = silu ? z * sigmoid(z) : z;
                    }
                    y.store(y.row(row), at.channel, v[u]);
                  });
}

}  // namespace

// --- launchers -----------------------------------------------------------------------------------------------------

HN_SUPPORTS(group_norm, kFloats);

Status group_norm(const Context& ctx, const GroupNormArgs& a) {
  if (a.x.elements() == 0) return {};
  const Groups of(a.x, a.groups);
  GroupMoments* const moments = ctx.workspace<GroupMoments>(of.count());
  if (moments == nullptr) return Status::no_memory();
  return with_packs(
      [&](auto storage, auto pack) {
        using T = decltype(storage);
        const ChannelDeal deal(a.x, pack());
        const Rows<T> x(a.x);
        HN_RETURN_IF_ERROR((find_moments<T, pack()>(ctx, x, deal, of, a.eps, moments)));
        return HN_LAUNCH((normalize_kernel<T, pack()>), deal.blocks(), ChannelDeal::kThreads, 0, ctx, x, deal, of,
                         moments, AnyRows(a.weight), AnyRows(a.bias), a.silu, Rows<T>(a.y));
      },
      a.x, a.y, a.weight, a.bias);
}

}  // namespace hn::cuda
