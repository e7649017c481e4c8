// Mean and deviation over groups of channels and all positions of a sample, for group norm and its gradient. There may
// be 1e9 values a group, far from zero:
//   1. each thread keeps a running mean and the squares around it for its channels (Welford); those of a block are put
//      together without cancellation (Chan, Golub, LeVeque 1979) and left as a share of the part;
//   2. the shares of a group are put together in double.
// Both in an order that the shape fixes.
#pragma once

#include "cuda/device/any_rows.cuh"
#include "cuda/device/channel_deal.cuh"
#include "cuda/device/reduce.cuh"

namespace hn::cuda {

/// What a sample's group is normalised by.
struct GroupMoments {
  float mean, r;
};

/// Groups of neighbouring channels: moments and the like are [samples, groups].
struct Groups {
  int64_t samples, groups, channels;
  double values;  // that a group has in a sample
  Divider size;   // channels of a group

  Groups(const TensorView& x, int64_t group_count)
      : samples(x.shape[0]), groups(group_count), channels(x.dim(-1)), size(channels / group_count) {
    values = samples > 0 ? static_cast<double>(x.rows() / samples) * static_cast<double>(size.divisor()) : 0;
  }
  int64_t count() const { return samples * groups; }
};

/// shares[part, 0, c] = mean, shares[part, 1, c] = Σ (x − mean)² over the part's positions.
template <class T, int kPackSize>
__global__ void __launch_bounds__(ChannelDeal::kThreads)
    part_moments_kernel(Rows<T> x, ChannelDeal deal, float* shares) {
  constexpr int kBatch = 4;
  const ChannelDeal::Place at = deal.place<kPackSize>();
  float v[kBatch][kPackSize], mean[kPackSize] = {}, squares[kPackSize] = {}, count = 0;
  at.each<kBatch>([&](int u, int64_t row) { x.load(x.row(row), at.channel, v[u]); },
                  [&](int u, int64_t) {
                    count += 1;
                    const float weight = __fdividef(1.0f, count);
#pragma unroll
                    for (int k = 0; k < kPackSize; ++k) {
                      const float off = v[u][k] - mean[k];
                      mean[k] += off * weight;
                      squares[k] += off * (v[u][k] - mean[k]);
                    }
                  });

  HN_SHARED(float, means, [ChannelDeal::kThreads * kPackSize]);
  HN_SHARED(float, spreads, [ChannelDeal::kThreads * kPackSize]);
  const int width = at.lanes * kPackSize;  // channels of the block
  if (at.works) {
#pragma unroll
    for (int k = 0; k < kPackSize; ++k) {
      means[at.slot * width + at.lane * kPackSize + k] = mean[k];
      spreads[at.slot * width + at.lane * kPackSize + k] = squares[k];
    }
  }
  __syncthreads();
  const int64_t first = at.channel - at.lane * kPackSize, channels = deal.channels();
  const float all = static_cast<float>(at.span.end - at.span.begin);
  for (int c = static_cast<int>(threadIdx.x); c < width && first + c < channels; c += ChannelDeal::kThreads) {
    float sum = 0, spread = 0;
    for (int s = 0; s < at.slots; ++s) sum += static_cast<float>(at.positions(s)) * means[s * width + c];
    const float center = sum / all;
    for (int s = 0; s < at.slots; ++s) {
      const float off = means[s * width + c] - center;
      spread += spreads[s * width + c] + static_cast<float>(at.positions(s)) * (off * off);
    }
    shares[at.part * 2 * channels + first + c] = center;
    shares[(at.part * 2 + 1) * channels + first + c] = spread;
  }
}

/// A block for each group of each sample; sample_parts: parts of a sample.
static __global__ void __launch_bounds__(ChannelDeal::kThreads)
    group_moments_kernel(const float* shares, RowChunks parts, int64_t sample_parts, Groups of, double eps,
                         Divider group_count, GroupMoments* moments) {
  int64_t sample = blockIdx.x;
  const int64_t size = of.size.divisor(), group = group_count.split(sample), begin = sample * sample_parts;
  // fn(mean, squares, positions) for each channel and part.
  const auto each = [&](auto&& fn) {
#pragma unroll 4
    for (int64_t i = threadIdx.x; i < sample_parts * size; i += ChannelDeal::kThreads) {
      int64_t part = i;
      const int64_t channel = group * size + of.size.split(part);
      const RowSpan span = parts.span(begin + part);
      const float* const share = shares + (begin + part) * 2 * of.channels + channel;
      fn(static_cast<double>(share[0]), static_cast<double>(share[of.channels]),
         static_cast<double>(span.end - span.begin));
    }
  };
  double sum = 0, squares = 0;
  each([&](double mean, double, double positions) { sum += positions * mean; });
  const double mean = block_sum<ChannelDeal::kThreads>(sum) / of.values;
  each([&](double part_mean, double part_squares, double positions) {
    squares += part_squares + positions * (part_mean - mean) * (part_mean - mean);
  });
  const double variance = block_sum<ChannelDeal::kThreads>(squares) / of.values;
  if (threadIdx.x == 0) moments[blockIdx.x] = {static_cast<float>(mean), static_cast<float>(1 / sqrt(variance + eps))};
}

/// moments: [samples, groups].
template <class T, int kPackSize>
Status find_moments(const Context& ctx, const Rows<T>& x, const ChannelDeal& deal, const Groups& of, double eps,
                    GroupMoments* moments) {
  const RowChunks& parts = deal.parts();
  float* const shares = ctx.workspace<float>(parts.count() * 2 * of.channels);
  if (shares == nullptr) return Status::no_memory();
  HN_RETURN_IF_ERROR(
      HN_LAUNCH((part_moments_kernel<T, kPackSize>), deal.blocks(), ChannelDeal::kThreads, 0, ctx, x, deal, shares));
  return HN_LAUNCH((group_moments_kernel), of.count(), ChannelDeal::kThreads, 0, ctx, shares, parts, parts.per_group(),
                   of, eps, Divider(of.groups), moments);
}

// --- what a thread keeps of its channels ---------------------------------------------------------------------------

template <int kPackSize>
struct ChannelNorm {
  float mean[kPackSize], r[kPackSize], weight[kPackSize], bias[kPackSize];

  HN_DEVICE float normed(float x, int k) const { return (x - mean[k]) * r[k]; }
  HN_DEVICE float affine(float n, int k) const { return n * weight[k] + bias[k]; }
};

template <int kPackSize>
HN_DEVICE ChannelNorm<kPackSize> channel_norm(const GroupMoments* moments, const Groups& of, const AnyRows& weight,
                                              const AnyRows& bias, int64_t sample, int64_t channel) {
  ChannelNorm<kPackSize> norm;
  weight.row(0).load_or(channel, 1.0f, norm.weight);
  bias.row(0).load_or(channel, 0.0f, norm.bias);
#pragma unroll
  for (int k = 0; k < kPackSize; ++k) {
    const GroupMoments m = moments[sample * of.groups + of.size.quotient(channel + k)];
    norm.mean[k] = m.mean;
    norm.r[k] = m.r;
  }
  return norm;
}

/// Within a few units in the last place; 0 and 1 far out.
HN_DEVICE float sigmoid(float z) {
  constexpr float kLog2E = 1.44269504f;
  return __fdividef(1.0f, 1.0f + ptx::exp2_approx(-kLog2E * z));
}

}  // namespace hn::cuda
