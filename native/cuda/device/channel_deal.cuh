// How channels-last tensors [B, ..., C] are dealt out where something is added up over positions, channel by channel:
// a block takes a part of a sample's positions, each thread always the same pack of channels, so that what belongs to a
// channel (mean, weight, sums) is in its registers. Neighbouring threads take neighbouring packs, and where the
// channels are fewer than the threads, several positions at a time: what a block reads at once lies together.
#pragma once

#include "cuda/device/rows.cuh"
#include "cuda/device/shares.cuh"

namespace hn::cuda {

class ChannelDeal {
 public:
  static constexpr int kThreads = 256;

  /// Parts are cut by the shape alone.
  ChannelDeal(const TensorView& x, int pack)
      : lanes_(static_cast<int>(std::min<int64_t>(ceil_div(x.dim(-1), pack), kThreads))),
        slots_(lanes_ > 0 ? kThreads / lanes_ : 1),
        channels_(x.dim(-1)),
        tiles_(lanes_ > 0 ? ceil_div(channels_, static_cast<int64_t>(lanes_) * pack) : 0),
        parts_(x.shape[0], x.shape[0] > 0 ? x.rows() / x.shape[0] : 0, static_cast<int64_t>(slots_) * 8) {}

  const RowChunks& parts() const { return parts_; }
  int64_t blocks() const { return parts_.count() * tiles_.divisor(); }
  HN_HOST_DEVICE int64_t channels() const { return channels_; }

  /// Where a thread stands: positions span.begin + slot, + slots, … of part `part`, and channels from `channel` on.
  struct Place {
    int64_t part, channel;
    RowSpan span;
    int lane, lanes, slot, slots;
    bool works;

    /// Calls load(u, row) for kBatch positions, then use(u, row) for each of them, until the part ends: so many loads
    /// are under way at a time.
    template <int kBatch, class Load, class Use>
    HN_DEVICE void each(Load&& load, Use&& use) const {
      if (!works) return;
      for (int64_t first = span.begin + slot; first < span.end; first += kBatch * slots) {
#pragma unroll
        for (int u = 0; u < kBatch; ++u) {
          if (first + u * slots < span.end) load(u, first + u * slots);
        }
#pragma unroll
        for (int u = 0; u < kBatch; ++u) {
          if (first + u * slots < span.end) use(u, first + u * slots);
        }
      }
    }
    /// Positions that the threads of a slot take.
    HN_DEVICE int64_t positions(int of_slot) const {
      const int64_t left = span.end - span.begin - of_slot;
      return left > 0 ? (left + slots - 1) / slots : 0;
    }
  };

  template <int kPackSize>
  HN_DEVICE Place place() const {
    Place at;
    at.part = blockIdx.x;
    const int64_t tile = tiles_.split(at.part);
    at.span = parts_.span(at.part);
    at.lanes = lanes_;
    at.lane = static_cast<int>(threadIdx.x) % lanes_;
    at.slot = static_cast<int>(threadIdx.x) / lanes_;
    at.slots = slots_;
    at.channel = (tile * lanes_ + at.lane) * kPackSize;
    at.works = at.slot < slots_ && at.channel < channels_;
    return at;
  }

 private:
  int lanes_, slots_;
  int64_t channels_;
  Divider tiles_;
  RowChunks parts_;
};

}  // namespace hn::cuda
