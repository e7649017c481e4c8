// ldmatrix and mma.sync on the fragments of all 32 lanes. Products are exact in f32 and sums are rounded to f32 after
// each step; a GPU's tensor cores align and truncate instead, so only sums without rounding agree bit for bit.
#include <cstring>

#include "simt/block.h"
#include "simt/half.h"

namespace hn::simt {
namespace {

using Row8 = float __attribute__((vector_size(32)));  // a row of the accumulator

struct LoadArg {
  uint32_t row[4];
  uint32_t* result;
  int count;
  bool transpose;
};

void execute_ldmatrix(void* const* args, uint32_t) {
  const auto lane_of = [args](int lane) { return static_cast<LoadArg*>(args[lane]); };
  for (int i = 0; i < lane_of(0)->count; ++i) {
    for (int lane = 0; lane < kWarpLanes; ++lane) {
      LoadArg& mine = *lane_of(lane);
      const int row = lane / 4, column = lane % 4;
      if (!mine.transpose) {
        mine.result[i] = lane_of(8 * i + row)->row[column];
        continue;
      }
      const auto half_at = [&](int r, int c) {
        uint16_t h;
        std::memcpy(&h, reinterpret_cast<const char*>(lane_of(8 * i + r)->row) + 2 * c, sizeof h);
        return static_cast<uint32_t>(h);
      };
      mine.result[i] = half_at(2 * column, row) | half_at(2 * column + 1, row) << 16;
    }
  }
}

struct MmaArg {
  float* d;
  const uint32_t* a;
  uint32_t b[2];
};

/// One product for the whole warp: A [16, kDepth], B [kDepth, 8] and the sums [16, 8].
template <int kDepth>
struct Tile {
  float a[16][kDepth];
  union {
    Row8 b[kDepth];
    float b_at[kDepth][8];
  };
  union {
    Row8 c[16];
    float c_at[16][8];
  };

  void multiply() {
    for (int m = 0; m < 16; ++m) {
      Row8 even = c[m], odd = {};
      for (int k = 0; k < kDepth; k += 2) {
        even += a[m][k] * b[k];
        odd += a[m][k + 1] * b[k + 1];
      }
      c[m] = even + odd;
    }
  }
  void take_sums(void* const* args) {
    for (int lane = 0; lane < kWarpLanes; ++lane) {
      const int row = lane / 4, column = lane % 4 * 2;
      const float* d = static_cast<const MmaArg*>(args[lane])->d;
      std::memcpy(&c_at[row][column], d, 2 * sizeof(float));
      std::memcpy(&c_at[row + 8][column], d + 2, 2 * sizeof(float));
    }
  }
  void give_sums(void* const* args) const {
    for (int lane = 0; lane < kWarpLanes; ++lane) {
      const int row = lane / 4, column = lane % 4 * 2;
      float* d = static_cast<const MmaArg*>(args[lane])->d;
      std::memcpy(d, &c_at[row][column], 2 * sizeof(float));
      std::memcpy(d + 2, &c_at[row + 8][column], 2 * sizeof(float));
    }
  }
};

template <Half kType>
void execute_mma_16n8k16(void* const* args, uint32_t) {
  Tile<16> tile;
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    const auto& arg = *static_cast<const MmaArg*>(args[lane]);
    const int g = lane / 4, c = lane % 4 * 2;
    for (int i = 0; i < 4; ++i) {
      float* to = &tile.a[g + (i % 2) * 8][c + (i / 2) * 8];
      to[0] = widen(arg.a[i] & 0xffffu, kType);
      to[1] = widen(arg.a[i] >> 16, kType);
    }
    for (int i = 0; i < 2; ++i) {
      tile.b_at[c + 8 * i][g] = widen(arg.b[i] & 0xffffu, kType);
      tile.b_at[c + 8 * i + 1][g] = widen(arg.b[i] >> 16, kType);
    }
  }
  tile.take_sums(args);
  tile.multiply();
  tile.give_sums(args);
}

void execute_mma_16n8k8_tf32(void* const* args, uint32_t) {
  // The hardware looks at no more than the bits that TF32 has.
  const auto tf32 = [](uint32_t bits) { return __builtin_bit_cast(float, bits & 0xffffe000u); };
  Tile<8> tile;
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    const auto& arg = *static_cast<const MmaArg*>(args[lane]);
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) tile.a[g + (i % 2) * 8][t + (i / 2) * 4] = tf32(arg.a[i]);
    for (int i = 0; i < 2; ++i) tile.b_at[t + 4 * i][g] = tf32(arg.b[i]);
  }
  tile.take_sums(args);
  tile.multiply();
  tile.give_sums(args);
}

constexpr uint32_t kAllLanes = 0xffffffffu;

}  // namespace

void ldmatrix(uint32_t row, uint32_t* r, int count, bool transpose) {
  Block& block = Block::current();
  LoadArg mine{{}, r, count, transpose};
  if (block.self().lane < 8 * count) {
    if (row % 16 != 0) block.fail("ldmatrix: row address %u is not aligned to 16 bytes", row);
    const void* from = block.shared.at(row, 16);
    if (from == nullptr) block.fail("ldmatrix: shared address %u is out of range", row);
    sanitizer::read(from, sizeof mine.row);
    std::memcpy(mine.row, from, sizeof mine.row);
  }
  block.collect(kAllLanes, WarpOp::ldmatrix, &mine, execute_ldmatrix);
}

void mma_16n8k16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, Half type) {
  MmaArg mine{d, a, {b0, b1}};
  Block::current().collect(kAllLanes, WarpOp::mma, &mine,
                           type == Half::bf16 ? execute_mma_16n8k16<Half::bf16> : execute_mma_16n8k16<Half::f16>);
}

void mma_16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  MmaArg mine{d, a, {b0, b1}};
  Block::current().collect(kAllLanes, WarpOp::mma, &mine, execute_mma_16n8k8_tf32);
}

}  // namespace hn::simt
