// Gradients of group normalisation of channels-last tensors [B, ..., C] (group_norm.cu):
//   n = (x − mean) · r,  z = n · w + b;   dz = dy, or dy · silu'(z) with silu'(z) = s + z · s · (1 − s), s = sigmoid(z)
//   dx = r · (dz · w − mean(dz · w) − n · mean(dz · w · n)), means over a group;   dw = Σ dz · n,  db = Σ dz
//
// dy, x, dx [B, ..., C] of any strides, f32, bf16 or f16; w, b [C] of any float type; dw, db [C] in f32. Sums are f32
// and go by channel: parts of the positions leave shares (shares.cuh), and a group's means are put together from its
// channels'. Nothing of the forward pass is kept: the moments are found again.
// Bytes: 6 · size(x): x three times, dy twice, dx. FLOPs: 24 an element. Bound by memory.
#include "core/generated/norm.h"
#include "cuda/device/group_moments.cuh"
#include "cuda/support.h"

namespace hn::cuda {
namespace {

/// Positions that a thread loads of x and of dy before it uses any.
constexpr int kBatch = 2;

/// v becomes n, g becomes dz.
template <int kPackSize>
HN_DEVICE void to_gradient(const ChannelNorm<kPackSize>& norm, bool silu, float (&v)[kPackSize],
                           float (&g)[kPackSize]) {
#pragma unroll
  for (int k = 0; k < kPackSize; ++k) {
    v[k] = norm.normed(v[k], k);
    if (!silu) continue;
    const float z = norm.affine(v[k], k), s = sigmoid(z);
    g[k] *= s + z * s * (1.0f - s);
  }
}

/// shares[part, 0, c] = Σ dz, shares[part, 1, c] = Σ dz · n over the part's positions.
template <class T, int kPackSize>
__global__ void __launch_bounds__(ChannelDeal::kThreads)
    sums_kernel(Rows<T> dy, Rows<T> x, ChannelDeal deal, Groups of, const GroupMoments* moments, AnyRows weight,
                AnyRows bias, bool silu, float* shares) {
  const ChannelDeal::Place at = deal.place<kPackSize>();
  float v[kBatch][kPackSize], g[kBatch][kPackSize], s0[kPackSize] = {}, s1[kPackSize] = {};
  if (at.works) {
    const ChannelNorm<kPackSize> norm = channel_norm<kPackSize>(moments, of, weight, bias, at.span.group, at.channel);
    at.each<kBatch>(
        [&](int u, int64_t row) {
          x.load(x.row(row), at.channel, v[u]);
          dy.load(dy.row(row), at.channel, g[u]);
        },
        [&](int u, int64_t) {
          to_gradient(norm, silu, v[u], g[u]);
#pragma unroll
          for (int k = 0; k < kPackSize; ++k) {
            s0[k] += g[u][k];
            s1[k] += g[u][k] * v[u][k];
          }
        });
  }

  HN_SHARED(float, plain, [ChannelDeal::kThreads * kPackSize]);
  HN_SHARED(float, times_n, [ChannelDeal::kThreads * kPackSize]);
  const int width = at.lanes * kPackSize;  // channels of the block
  if (at.works) {
#pragma unroll
    for (int k = 0; k < kPackSize; ++k) {
      plain[at.slot * width + at.lane * kPackSize + k] = s0[k];
      times_n[at.slot * width + at.lane * kPackSize + k] = s1[k];
    }
  }
  __syncthreads();
  const int64_t first = at.channel - at.lane * kPackSize, channels = deal.channels();
  for (int c = static_cast<int>(threadIdx.x); c < width && first + c < channels; c += ChannelDeal::kThreads) {
    float sum0 = 0, sum1 = 0;
    for (int s = 0; s < at.slots; ++s) {
      sum0 += plain[s * width + c];
      sum1 += times_n[s * width + c];
    }
    shares[at.part * 2 * channels + first + c] = sum0;
    shares[(at.part * 2 + 1) * channels + first + c] = sum1;
  }
}

/// Means over a group of dz · w, and of dz · w · n.
struct GroupMeans {
  float plain, times_n;
};

constexpr int kMeansThreads = 64;

/// totals: Σ dz and Σ dz · n of each sample, [samples, 2, C]. A thread for each group of each sample.
__global__ void __launch_bounds__(kMeansThreads)
    group_means_kernel(const float* totals, Groups of, Divider group_count, AnyRows weights, GroupMeans* means) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kMeansThreads + threadIdx.x;
  if (i >= of.samples * of.groups) return;
  int64_t sample = i;
  const int64_t size = of.size.divisor(), first = group_count.split(sample) * size;
  const float* const sums = totals + sample * 2 * of.channels;
  const AnyRow weight = weights.row(0);
  double plain = 0, times_n = 0;
  for (int64_t c = first; c < first + size; ++c) {
    const double w = weight ? weight.at(c) : 1.0f;
    plain += w * sums[c];
    times_n += w * sums[of.channels + c];
  }
  means[i] = {static_cast<float>(plain / of.values), static_cast<float>(times_n / of.values)};
}

template <class T, int kPackSize>
__global__ void __launch_bounds__(ChannelDeal::kThreads)
    dx_kernel(Rows<T> dy, Rows<T> x, ChannelDeal deal, Groups of, const GroupMoments* moments, const GroupMeans* means,
              AnyRows weight, AnyRows bias, bool silu, Rows<T> dx) {
  const ChannelDeal::Place at = deal.place<kPackSize>();
  if (!at.works) return;
  const ChannelNorm<kPackSize> norm = channel_norm<kPackSize>(moments, of, weight, bias, at.span.group, at.channel);
  float v[kBatch][kPackSize], g[kBatch][kPackSize], m0[kPackSize], m1[kPackSize];
#pragma unroll
  for (int k = 0; k < kPackSize; ++k) {
    const GroupMeans m = means[at.span.group * of.groups + of.size.quotient(at.channel + k)];
    m0[k] = m.plain;
    m1[k] = m.times_n;
  }
  at.each<kBatch>(
      [&](int u, int64_t row) {
        x.load(x.row(row), at.channel, v[u]);
        dy.load(dy.row(row), at.channel, g[u]);
      },
      [&](int u, int64_t row) {
        to_gradient(norm, silu, v[u], g[u]);
#pragma unroll
        for (int k = 0; k < kPackSize; ++k) v[u][k] = norm.r[k] * (g[u][k] * norm.weight[k] - m0[k] - v[u][k] * m1[k]);
        dx.store(dx.row(row), at.channel, v[u]);
      });
}

// --- launchers -----------------------------------------------------------------------------------------------------

/// Leaves totals [samples, 2, C] and, when wanted, dx.
template <class T, int kPackSize>
Status launch_kernels(const Context& ctx, const GroupNormBackwardArgs& a, const Groups& of, float* totals) {
  const ChannelDeal deal(a.x, kPackSize);
  const Rows<T> dy(a.dy), x(a.x);
  const AnyRows weight(a.weight), bias(a.bias);
  GroupMoments* const moments = ctx.workspace<GroupMoments>(of.count());
  GroupMeans* const means = ctx.workspace<GroupMeans>(of.count());
  float* const shares = ctx.workspace<float>(deal.parts().count() * 2 * of.channels);
  if (moments == nullptr || means == nullptr || shares == nullptr) return Status::no_memory();
  HN_RETURN_IF_ERROR((find_moments<T, kPackSize>(ctx, x, deal, of, a.eps, moments)));
  HN_RETURN_IF_ERROR(HN_LAUNCH((sums_kernel<T, kPackSize>), deal.blocks(), ChannelDeal::kThreads, 0, ctx, dy, x, deal,
                               of, moments, weight, bias, a.silu, shares));
  HN_RETURN_IF_ERROR(
      add_shares(ctx, shares, of.samples, deal.parts().per_group(), 2 * of.channels, 2 * of.channels, any_out(totals)));
  if (!a.dx) return {};
  HN_RETURN_IF_ERROR(HN_LAUNCH((group_means_kernel), ceil_div(of.count(), kMeansThreads), kMeansThreads, 0, ctx, totals,
                               of, Divider(of.groups), weight, means));
  return HN_LAUNCH((dx_kernel<T, kPackSize>), deal.blocks(), ChannelDeal::kThreads, 0, ctx, dy, x, deal, of, moments,
                   means, weight, bias, a.silu, Rows<T>(a.dx));
}

}  // namespace

HN_SUPPORTS(group_norm_backward, kFloats);

Status group_norm_backward(const Context& ctx, const GroupNormBackwardArgs& a) {
  if (a.dy.dtype != a.x.dtype) return Status::missing("group_norm_backward: dy is of another type than x");
  const Groups of(a.x, a.groups);
  const int64_t summed = a.x.elements() > 0 ? of.samples : 0;
  float* const totals = ctx.workspace<float>(summed * 2 * of.channels);
  if (totals == nullptr) return Status::no_memory();
  if (summed > 0) {
    HN_RETURN_IF_ERROR(with_packs(
        [&](auto storage, auto pack) { return launch_kernels<decltype(storage), pack()>(ctx, a, of, totals); }, a.x,
        a.dy, a.dx, a.weight, a.bias));
  }
  if (a.dbias) {
    HN_RETURN_IF_ERROR(add_shares(ctx, totals, 1, summed, 2 * of.channels, of.channels, AnyOut(a.dbias)));
  }
  if (!a.dweight) return {};
  return add_shares(ctx, totals + of.channels, 1, summed, 2 * of.channels, of.channels, AnyOut(a.dweight));
}

}  // namespace hn::cuda
