// Random numbers.
//   philox        element e = offset + i is word e mod 4 of Philox 4x32-10 (Salmon et al., SC11) at counter e / 4, key
//   seed.
//                 uniform: the word's leading 24 bits / 2^24 (11 for f16, 8 for bf16: exact, never 1)
//                 normal:  Box-Muller over words (0, 1) and (2, 3): sqrt(-2 ln u) · (cos, sin)(2π v)
//   torch_random  PyTorch's CPU generator, a 32-bit Mersenne Twister (Matsumoto and Nishimura, 1998). Normals: 16 and
//   more
//                 in f32, by blocks of 16; fewer one by one in f64, the second of a pair kept for the next call.
// Bound by arithmetic: ten rounds of two 32 × 32 products for four numbers; the twister is sequential, about 1 ns a
// draw.
#include <cstdint>

#include "core/generated/random.h"
#include "cpu/context.h"
#include "cpu/kernels/convert.h"
#include "cpu/kernels/dispatch.h"
#include "cpu/kernels/simd.h"

namespace hn::cpu::HN_ISA {
namespace {

// --- Philox
// --------------------------------------------------------------------------------------------------------------

constexpr int64_t kBlocks = 128;  // counters in a batch; the loops over them become vectors
constexpr int64_t kBatch = 4 * kBlocks;

struct Words {
  uint32_t w[4][kBlocks];
};

void philox_batch(uint32_t key0, uint32_t key1, int64_t first_counter, Words& out) {
  for (int64_t b = 0; b < kBlocks; ++b) {
    const auto counter = static_cast<uint64_t>(first_counter + b);
    uint32_t c0 = static_cast<uint32_t>(counter), c1 = static_cast<uint32_t>(counter >> 32), c2 = 0, c3 = 0;
    uint32_t k0 = key0, k1 = key1;
    for (int round = 0; round < 10; ++round) {
      const uint64_t p0 = uint64_t{0xD2511F53u} * c0, p1 = uint64_t{0xCD9E8D57u} * c2;
      c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
      c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
      c1 = static_cast<uint32_t>(p1);
      c3 = static_cast<uint32_t>(p0);
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    out.w[0][b] = c0;
    out.w[1][b] = c1;
    out.w[2][b] = c2;
    out.w[3][b] = c3;
  }
}

/// ln x for normal x in (0, 1], about 1 ulp (Cephes logf).
inline float log_of(float x) {
  const int32_t bits = bits_as<int32_t>(x);
  // x = m · 2^e with m in [sqrt(1/2), sqrt(2))
  const int32_t shifted = bits - 0x3f3504f3;
  const float e = static_cast<float>(shifted >> 23);
  const float r = bits_as<float>((shifted & 0x7fffff) + 0x3f3504f3) - 1.0f;
  float p = 7.0376836292e-2f;
  p = p * r - 1.1514610310e-1f;
  p = p * r + 1.1676998740e-1f;
  p = p * r - 1.2420140846e-1f;
  p = p * r + 1.4249322787e-1f;
  p = p * r - 1.6668057665e-1f;
  p = p * r + 2.0000714765e-1f;
  p = p * r - 2.4999993993e-1f;
  p = p * r + 3.3333331174e-1f;
  const float square = r * r;
  const float small = p * r * square + e * -2.12194440e-4f - 0.5f * square;
  return r + small + e * 0.693359375f;
}

/// cos and sin of 2π · word / 2^32: the quadrant is the top bits of the word, so nothing is lost to reduction.
inline void cos_sin_turn(uint32_t word, float& cosine, float& sine) {
  const uint32_t quadrant = (word + 0x20000000u) >> 30;
  const float turn = static_cast<float>(static_cast<int32_t>(word - (quadrant << 30)));  // within an eighth of a turn
  const float x = turn * 1.46291807926715968e-9f;                                        // 2π / 2^32
  const float z = x * x;
  float s = -1.9515295891e-4f * z + 8.3321608736e-3f;  // Cephes sinf, cosf
  s = (s * z - 1.6666654611e-1f) * z * x + x;
  float c = 2.443315711809948e-5f * z - 1.388731625493765e-3f;
  c = (c * z + 4.166664568298827e-2f) * z * z - 0.5f * z + 1.0f;
  const bool swap = (quadrant & 1) != 0;
  const float a = swap ? s : c, b = swap ? c : s;
  cosine = quadrant == 1 || quadrant == 2 ? -a : a;
  sine = quadrant >= 2 ? -b : b;
}

/// The words of one pair become two normals, in place of them.
void box_muller(const uint32_t* u, const uint32_t* v, float* even, float* odd) {
  for (int64_t b = 0; b < kBlocks; ++b) {
    // (word + 1) / 2^32, rounded to float once (part of the definition: near 1 it decides the radius). Never 0.
    const float uniform =
        (static_cast<float>(u[b] >> 8) * 256.0f + static_cast<float>((u[b] & 0xff) + 1)) * 2.3283064365386963e-10f;
    const float ln = log_of(uniform);
    const float radius = __builtin_sqrtf(ln < 0 ? -2.0f * ln : 0.0f);
    float c, s;
    cos_sin_turn(v[b], c, s);
    even[b] = radius * c;
    odd[b] = radius * s;
  }
}

void normals(const Words& words, float* out) {
  float part[4][kBlocks];
  box_muller(words.w[0], words.w[1], part[0], part[1]);
  box_muller(words.w[2], words.w[3], part[2], part[3]);
  for (int64_t b = 0; b < kBlocks; ++b)
    for (int lane = 0; lane < 4; ++lane) out[4 * b + lane] = part[lane][b];
}

void uniforms(const Words& words, int bits, float* out) {
  const uint32_t mask = ~uint32_t{0} << (32 - bits);
  for (int64_t b = 0; b < kBlocks; ++b)
    for (int lane = 0; lane < 4; ++lane)
      out[4 * b + lane] =
          static_cast<float>(static_cast<int32_t>((words.w[lane][b] & mask) >> 8)) * 5.9604644775390625e-8f;
}

/// Leading bits that every uniform number of a type can hold.
int uniform_bits(DType type) { return type == DType::bf16 ? 8 : type == DType::f16 ? 11 : 24; }

// --- PyTorch's generator
// -------------------------------------------------------------------------------------------------

class Twister {
 public:
  explicit Twister(uint32_t seed) {
    state_[0] = seed;
    for (uint32_t i = 1; i < kSize; ++i) state_[i] = 1812433253u * (state_[i - 1] ^ (state_[i - 1] >> 30)) + i;
  }
  uint32_t draw() {
    if (at_ == kSize) twist();
    uint32_t x = state_[at_++];
    x ^= x >> 11;
    x ^= (x << 7) & 0x9d2c5680u;
    x ^= (x << 15) & 0xefc60000u;
    return x ^ (x >> 18);
  }
  void skip(int64_t draws) {
    for (; draws > kSize - at_; twist()) draws -= kSize - at_;
    at_ += static_cast<int>(draws);
  }
  float uniform() { return static_cast<float>(static_cast<int32_t>(draw() & 0xffffff)) * 5.9604644775390625e-8f; }
  double uniform53() {
    const uint64_t high = draw();
    const uint64_t both = high << 32 | draw();
    return static_cast<double>(both & ((uint64_t{1} << 53) - 1)) * 1.1102230246251565e-16;
  }

 private:
  static constexpr int kSize = 624, kShift = 397;

  uint32_t mix(int i, int next, int far) const {
    const uint32_t y = (state_[i] & 0x80000000u) | (state_[next] & 0x7fffffffu);
    return state_[far] ^ (y >> 1) ^ ((y & 1) != 0 ? 0x9908b0dfu : 0);
  }
  void twist() {
    for (int i = 0; i < kSize - kShift; ++i) state_[i] = mix(i, i + 1, i + kShift);
    for (int i = kSize - kShift; i < kSize - 1; ++i) state_[i] = mix(i, i + 1, i + kShift - kSize);
    state_[kSize - 1] = mix(kSize - 1, 0, kShift - 1);
    at_ = 0;
  }

  uint32_t state_[kSize];
  int at_ = kSize;
};

struct Pair {
  double first, second;
};

/// Normals one by one: u and v from two draws each.
Pair next_pair(Twister& twister) {
  const double angle = 6.283185307179586 * twister.uniform53();
  const double radius = __builtin_sqrt(-2.0 * __builtin_log1p(-twister.uniform53()));
  return {radius * __builtin_cos(angle), radius * __builtin_sin(angle)};
}

void few_normals(const TorchRandomArgs& a) {
  const int64_t n = a.y.elements();
  double values[16];
  int64_t i = 0;
  if (a.kept >= 0 && n > 0) {
    Twister at_kept(static_cast<uint32_t>(a.seed));
    at_kept.skip(a.kept);
    values[i++] = next_pair(at_kept).second;
  }
  Twister twister(static_cast<uint32_t>(a.seed));
  twister.skip(a.skip);
  for (; i < n; i += 2) {
    const Pair pair = next_pair(twister);
    values[i] = pair.first;
    if (i + 1 < n) values[i + 1] = pair.second;
  }
  store_row<double>(a.y.dtype)(a.y.data, 1, n, values);
}

/// 16 uniforms to 16 normals, in place. 2π v is one f32 product, as in PyTorch's vector code: in f64 the result would
/// differ by more than the last bit.
void normal_block(float* block) {
  for (int j = 0; j < 8; ++j) {
    const float radius = __builtin_sqrtf(-2.0f * __builtin_logf(1.0f - block[j]));
    const float angle = 6.283185307179586f * block[j + 8];
    block[j] = radius * __builtin_cosf(angle);
    block[j + 8] = radius * __builtin_sinf(angle);
  }
}

constexpr int64_t kTorchBlock = 16;

void many_normals(const Context& ctx, const TorchRandomArgs& a, Twister& twister, float* out) {
  const int64_t n = a.y.elements(), blocks = n / kTorchBlock;
  for (int64_t i = 0; i < n; ++i) out[i] = twister.uniform();
  constexpr int64_t kChunk = kChunkElements / kTorchBlock;
  ctx.parallel_for(ceil_div(blocks, kChunk), [&](int64_t c) {
    for (int64_t b = c * kChunk; b < blocks && b < (c + 1) * kChunk; ++b) normal_block(out + b * kTorchBlock);
  });
  if (n % kTorchBlock == 0) return;
  // The last 16 elements anew, over the end of the last whole block too.
  float* tail = out + n - kTorchBlock;
  for (int64_t i = 0; i < kTorchBlock; ++i) tail[i] = twister.uniform();
  normal_block(tail);
}

}  // namespace

Status philox(const Context& ctx, const PhiloxArgs& a) {
  const int64_t n = a.y.elements();
  const auto store = store_row<float>(a.y.dtype);
  const auto key0 = static_cast<uint32_t>(a.seed_low), key1 = static_cast<uint32_t>(a.seed_high);
  const int bits = uniform_bits(a.y.dtype);
  const int64_t shift = a.offset % 4, first = a.offset / 4;  // element 0 is word `shift` of its counter
  ctx.parallel_for(ceil_div(n + shift, kBatch), [&](int64_t batch) {
    Words words;
    float values[kBatch];
    philox_batch(key0, key1, first + batch * kBlocks, words);
    if (a.kind == PhiloxArgs::Kind::normal) {
      normals(words, values);
    } else {
      uniforms(words, bits, values);
    }
    const int64_t begin = batch * kBatch - shift;  // of this batch's first word in y
    const int64_t from = begin < 0 ? -begin : 0, to = n - begin < kBatch ? n - begin : kBatch;
    store(a.y.at(begin + from), 1, to - from, values + from);
  });
  return {};
}

Status torch_random(const Context& ctx, const TorchRandomArgs& a) {
  const int64_t n = a.y.elements();
  const bool normal = a.kind == TorchRandomArgs::Kind::normal;
  if (normal && n < kTorchBlock) {
    few_normals(a);
    return {};
  }
  const bool direct = a.y.dtype == DType::f32;
  float* out = direct ? a.y.as<float>() : ctx.workspace<float>(n);
  if (out == nullptr) return Status::no_memory();
  Twister twister(static_cast<uint32_t>(a.seed));
  twister.skip(a.skip);
  if (normal) {
    many_normals(ctx, a, twister, out);
  } else {
    for (int64_t i = 0; i < n; ++i) out[i] = twister.uniform();
  }
  if (!direct) store_row<float>(a.y.dtype)(a.y.data, 1, n, out);
  return {};
}

}  // namespace hn::cpu::HN_ISA
