// wgmma: A [64, 16] · B [16, n] with f32 sums, asynchronous. The sums are NaN from the issue to the wait, and operands
// are read in the wait, as late as the rules allow. Each warp of the four computes its own 16 rows.
#include <bit>
#include <cstring>
#include <memory>

#include "simt/block.h"
#include "simt/half.h"
#include "simt/swizzle.h"

namespace hn::simt {
namespace {

constexpr int kDepth = 16, kRows = 16, kMaxColumns = 256;

/// A matrix in shared memory as wgmma is told of it.
struct Descriptor {
  uint32_t start, leading, stride;  // bytes
  int swizzle;

  explicit Descriptor(uint64_t bits)
      : start(static_cast<uint32_t>(bits & 0x3fff) << 4),
        leading(static_cast<uint32_t>(bits >> 16 & 0x3fff) << 4),
        stride(static_cast<uint32_t>(bits >> 32 & 0x3fff) << 4) {
    constexpr int kSpans[] = {0, 128, 64, 32};
    swizzle = kSpans[bits >> 62];
  }

  /// Of 8 values that follow one another in k (K-major).
  uint32_t at_row(int row, int k) const {
    const auto r = static_cast<uint32_t>(row), eighth = static_cast<uint32_t>(k / 8);
    if (swizzle == 0) return start + r / 8 * stride + eighth * leading + r % 8 * 16;
    return swizzled(start + r / 8 * stride + r % 8 * static_cast<uint32_t>(swizzle) + eighth * 16, swizzle);
  }
  /// Of 8 values that follow one another along the rows of Bᵀ (MN-major).
  uint32_t at_depth(int row, int k) const {
    const auto r = static_cast<uint32_t>(row), d = static_cast<uint32_t>(k);
    if (swizzle == 0) return start + d / 8 * leading + d % 8 * 16 + r / 8 * stride;
    const auto span = static_cast<uint32_t>(swizzle), per_span = span / 2;
    return swizzled(start + d / 8 * stride + d % 8 * span + r / per_span * leading + r % per_span * 2, swizzle);
  }
};

struct Halves {
  uint16_t value[8];
};

Halves load(Block& block, uint32_t address) {
  const void* from = block.shared.at(address, sizeof(Halves));
  if (from == nullptr) block.fail("wgmma: a descriptor leads to shared address %u, out of range", address);
  sanitizer::read(from, sizeof(Halves));
  Halves halves;
  std::memcpy(&halves, from, sizeof halves);
  return halves;
}

/// One product of one warp.
struct Product {
  float a[kRows][kDepth];
  float b[kDepth][kMaxColumns];
  float c[kRows][kMaxColumns];

  void take_a(Block& block, const Wgmma& op, int first_row) {
    const Descriptor from(op.a);
    for (int row = 0; row < kRows; ++row) {
      for (int k = 0; k < kDepth; k += 8) {
        const Halves halves = load(block, from.at_row(first_row + row, k));
        for (int i = 0; i < 8; ++i) a[row][k + i] = widen(halves.value[i], op.type);
      }
    }
  }
  void take_a_registers(int lane, const Wgmma& op) {
    const int g = lane / 4, column = lane % 4 * 2;
    for (int i = 0; i < 4; ++i) {
      float* to = &a[g + i % 2 * 8][column + i / 2 * 8];
      to[0] = widen(op.a_registers[i] & 0xffffu, op.type);
      to[1] = widen(op.a_registers[i] >> 16, op.type);
    }
  }
  void take_b(Block& block, const Wgmma& op) {
    const Descriptor from(op.b);
    for (int n = 0; n < op.n; n += op.transpose_b ? 8 : 1) {
      for (int k = 0; k < kDepth; k += op.transpose_b ? 1 : 8) {
        const Halves halves = load(block, op.transpose_b ? from.at_depth(n, k) : from.at_row(n, k));
        for (int i = 0; i < 8; ++i) {
          float& to = op.transpose_b ? b[k][n + i] : b[k + i][n];
          to = widen(halves.value[i], op.type);
        }
      }
    }
  }
  void multiply(int n) {
    for (int row = 0; row < kRows; ++row) {
      for (int k = 0; k < kDepth; ++k) {
        for (int column = 0; column < n; ++column) c[row][column] += a[row][k] * b[k][column];
      }
    }
  }
  /// The sums of one lane, d[4 · j + i] = (g + 8 · (i / 2), 8 · j + c + i % 2).
  template <class Visit>
  void for_sums(int lane, int n, Visit&& visit) {
    for (int i = 0; i < n / 2; ++i) visit(i, c[lane / 4 + i / 2 % 2 * 8][i / 4 * 8 + lane % 4 * 2 + i % 2]);
  }
};

void execute(Block& block, size_t which) {
  const auto memory =
      std::make_unique_for_overwrite<Product>();  // too large for a fiber's stack or a thread's variables
  Product& product = *memory;
  const auto of_lane = [&](int lane) -> PendingWgmma& { return block.lane_of_my_warp(lane).wgmmas[which]; };
  const PendingWgmma& op = of_lane(0);
  sanitizer::go_on_as(block.lane_of_my_warp(0).clocks.async);
  product.take_b(block, op);
  if (op.a_registers == nullptr) product.take_a(block, op, block.self().warp % 4 * kRows);
  sanitizer::leave_at(&block.wgmma_done());
  sanitizer::go_on_as(block.self().clocks.generic);
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    const PendingWgmma& mine = of_lane(lane);
    const float* before = mine.starts ? mine.saved.data() : mine.d;
    product.for_sums(lane, op.n, [&](int i, float& sum) { sum = op.accumulate ? before[i] : 0.0f; });
    if (op.a_registers != nullptr) product.take_a_registers(lane, mine);
  }
  product.multiply(op.n);
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    float* d = of_lane(lane).d;
    product.for_sums(lane, op.n, [&](int i, const float& sum) { d[i] = sum; });
  }
}

/// The sums of an operation that is in flight are nobody's to read.
void hide_sums(PendingWgmma& op) {
  const auto count = static_cast<size_t>(op.n / 2);
  op.starts = true;
  op.saved.assign(op.d, op.d + count);
  std::memset(op.d, 0xff, count * sizeof(float));
}

/// Forgets the first `done` operations of a thread; what is still in flight hides its sums again.
void forget(Thread& thread, size_t done) {
  auto& all = thread.wgmmas;
  all.erase(all.begin(), all.begin() + static_cast<ptrdiff_t>(done));
  for (size_t i = 0; i < all.size(); ++i) {
    bool first = !all[i].starts;
    for (size_t j = 0; j < i; ++j) first = first && all[j].d != all[i].d;
    if (first) hide_sums(all[i]);
  }
}

void execute_wait(void* const* args, uint32_t) {
  Block& block = Block::current();
  const int64_t pending = *static_cast<const int*>(args[0]);
  const Thread& first = block.lane_of_my_warp(0);
  size_t done = 0;
  while (done < first.wgmmas.size() && first.wgmmas[done].group < first.wgmma_group - pending) ++done;
  for (int lane = 1; lane < kWarpLanes; ++lane) {
    const auto& others = block.lane_of_my_warp(lane).wgmmas;
    if (others.size() != first.wgmmas.size())
      block.fail("wgmma: lanes of one warp have issued different numbers of them");
    for (size_t i = 0; i < done; ++i) {
      const Wgmma &x = others[i], &y = first.wgmmas[i];
      if (x.a != y.a || x.b != y.b || x.n != y.n || x.accumulate != y.accumulate) {
        block.fail("wgmma: lanes of one warp have issued it with different operands");
      }
    }
  }
  for (size_t i = 0; i < done; ++i) execute(block, i);
  for (int lane = 0; lane < kWarpLanes; ++lane) forget(block.lane_of_my_warp(lane), done);
}

}  // namespace

void wgmma(const Wgmma& operation) {
  Thread& me = Block::current().self();
  PendingWgmma pending{operation, me.wgmma_group, false, {}};
  bool first = true;
  for (const PendingWgmma& other : me.wgmmas) first = first && other.d != operation.d;
  const sanitizer::Unseen unseen;
  if (first) hide_sums(pending);
  me.wgmmas.push_back(std::move(pending));
}

void wgmma_commit() { ++Block::current().self().wgmma_group; }

void wgmma_wait(int pending) {
  Block& block = Block::current();
  block.collect(0xffffffffu, WarpOp::wgmma_wait, &pending, execute_wait);
  sanitizer::take_from(&block.wgmma_done());
}

}  // namespace hn::simt
