// Random numbers.
//   philox        element e = offset + i is word e mod 4 of Philox 4x32-10 (Salmon et al., SC11) at counter e / 4, key
//                 seed. uniform: the word's leading 24 bits / 2^24 (11 for f16, 8 for bf16: exact, never 1)
//                 normal: Box-Muller over words (0, 1) and (2, 3): sqrt(-2 ln u) · (cos, sin)(2π v)
//   torch_random  PyTorch's CPU generator, a 32-bit Mersenne Twister (Matsumoto and Nishimura, 1998). Normals: 16 and
//                 more in f32, by blocks of 16; fewer one by one in f64, the second of a pair kept for the next call.
// y [N] is dense: f32, f64, bf16 or f16 (the twister: not f64). A number is made in f32 and rounded once.
//
// philox is bit for bit what the CPU backend gives where its processor has fused multiply-add: the polynomials are
// written out with those in the places where its compiler puts them. Bytes: size(y). FLOPs: about 50 a number. Bound by
// arithmetic in 16 bits: [1, 16, 33, 90, 160] is expected to take microseconds.
//
// The twister runs in one block. Word k + 624 of its sequence needs words k, k + 1 and k + 397, so 227 words can be
// made at a time, with one barrier: some 50 ns by expectation, 2 ms for the 7.6 million of that shape, beside minutes
// of what they start. Draws made before are stepped through the same way. Jumping ahead by polynomials would let blocks
// share the work, at the cost of 2,496 bytes of state and a product of polynomials each; nothing here is long enough to
// want it.
#include <algorithm>

#include "core/generated/random.h"
#include "cuda/device/shared.cuh"
#include "cuda/device/storage.cuh"
#include "cuda/launch.h"
#include "cuda/support.h"

namespace hn::cuda {
namespace {

constexpr int kThreads = 256;

HN_DEVICE int64_t thread_number() { return static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; }

// --- Philox ---------------------------------------------------------------------------------------------------------

struct Words {
  uint32_t w[4];
};

HN_DEVICE Words philox_words(uint32_t key0, uint32_t key1, int64_t counter) {
  const auto n = static_cast<uint64_t>(counter);
  uint32_t c0 = static_cast<uint32_t>(n), c1 = static_cast<uint32_t>(n >> 32), c2 = 0, c3 = 0;
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0, p1 = uint64_t{0xCD9E8D57u} * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ key0;
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ key1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

/// ln x for normal x in (0, 1], about 1 ulp (Cephes logf).
HN_DEVICE float log_of(float x) {
  // x = m · 2^e with m in [sqrt(1/2), sqrt(2))
  const auto shifted = static_cast<int32_t>(ptx::float_bits(x)) - 0x3f3504f3;
  const float e = static_cast<float>(shifted >> 23);
  const float r = ptx::bits_float(static_cast<uint32_t>((shifted & 0x7fffff) + 0x3f3504f3)) - 1.0f;
  float p = fmaf(7.0376836292e-2f, r, -1.1514610310e-1f);
  p = fmaf(p, r, 1.1676998740e-1f);
  p = fmaf(p, r, -1.2420140846e-1f);
  p = fmaf(p, r, 1.4249322787e-1f);
  p = fmaf(p, r, -1.6668057665e-1f);
  p = fmaf(p, r, 2.0000714765e-1f);
  p = fmaf(p, r, -2.4999993993e-1f);
  p = fmaf(p, r, 3.3333331174e-1f);
  const float square = r * r;
  const float small = fmaf(-0.5f, square, fmaf(p * r, square, e * -2.12194440e-4f));
  return fmaf(e, 0.693359375f, r + small);
}

/// sin and cos of x within an eighth of a turn of 0 (Cephes sinf, cosf).
HN_DEVICE void sin_cos_near_zero(float x, float& s, float& c) {
  const float z = x * x;
  s = fmaf(-1.9515295891e-4f, z, 8.3321608736e-3f);
  s = fmaf(fmaf(s, z, -1.6666654611e-1f) * z, x, x);
  c = fmaf(2.443315711809948e-5f, z, -1.388731625493765e-3f);
  c = fmaf(fmaf(c, z, 4.166664568298827e-2f) * z, z, -0.5f * z) + 1.0f;
}

/// Of the angle `quadrant` quarters of a turn further on.
HN_DEVICE void turn(uint32_t quadrant, float s, float c, float& sine, float& cosine) {
  const bool swap = (quadrant & 1u) != 0;
  const float a = swap ? s : c, b = swap ? c : s;
  cosine = quadrant == 1 || quadrant == 2 ? -a : a;
  sine = quadrant >= 2 ? -b : b;
}

/// The words of one pair become two normals.
HN_DEVICE void box_muller(uint32_t u, uint32_t v, float& even, float& odd) {
  // (u + 1) / 2^32, rounded to float once (part of the definition: near 1 it decides the radius). Never 0.
  const float uniform =
      fmaf(static_cast<float>(u >> 8), 256.0f, static_cast<float>((u & 0xffu) + 1)) * 2.3283064365386963e-10f;
  const float ln = log_of(uniform);
  const float radius = sqrtf(ln < 0 ? -2.0f * ln : 0.0f);
  // The quadrant is the top bits of the word, so nothing is lost to reduction.
  const uint32_t quadrant = (v + 0x20000000u) >> 30;
  float s, c, sine, cosine;
  sin_cos_near_zero(static_cast<float>(static_cast<int32_t>(v - (quadrant << 30))) * 1.46291807926715968e-9f, s, c);
  turn(quadrant, s, c, sine, cosine);
  even = radius * cosine;
  odd = radius * sine;
}

struct Philox {
  uint32_t key0, key1, mask;  // mask: leading bits that every uniform number of the type can hold
  bool normal;
};

/// One thread a counter, which makes elements [4 · counter − shift, + 4).
template <class T>
__global__ void __launch_bounds__(kThreads, 1) philox_kernel(T* y, int64_t n, int64_t first, int shift, Philox of) {
  const int64_t counter = thread_number(), begin = 4 * counter - shift;
  if (begin >= n) return;
  const Words words = philox_words(of.key0, of.key1, first + counter);
  float v[4];
  if (of.normal) {
    box_muller(words.w[0], words.w[1], v[0], v[1]);
    box_muller(words.w[2], words.w[3], v[2], v[3]);
  } else {
#pragma unroll
    for (int k = 0; k < 4; ++k) v[k] = static_cast<float>((words.w[k] & of.mask) >> 8) * 5.9604644775390625e-8f;
  }
  if constexpr (sizeof(T) <= sizeof(float)) {
    if (shift == 0 && begin + 4 <= n) return store_pack<4>(y + begin, v);
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    if (begin + k >= 0 && begin + k < n) y[begin + k] = narrow<T>(v[k]);
  }
}

// --- PyTorch's generator --------------------------------------------------------------------------------------------

constexpr int kTwisterSize = 624, kTwisterShift = 397;
constexpr int kTwisterStep = kTwisterSize - kTwisterShift;  // words that do not need each other
constexpr int kTorchBlock = 16, kPairDraws = 4;

struct TwisterState {
  uint32_t words[kTwisterSize];
};

TwisterState seeded(int64_t seed) {
  TwisterState state;
  state.words[0] = static_cast<uint32_t>(seed);
  for (uint32_t i = 1; i < kTwisterSize; ++i) {
    const uint32_t last = state.words[i - 1];
    state.words[i] = 1812433253u * (last ^ (last >> 30)) + i;
  }
  return state;
}

HN_DEVICE uint32_t tempered(uint32_t x) {
  x ^= x >> 11;
  x ^= (x << 7) & 0x9d2c5680u;
  x ^= (x << 15) & 0xefc60000u;
  return x ^ (x >> 18);
}

/// draws[i] = draw skip + i of the sequence. One block.
__global__ void __launch_bounds__(kThreads, 1)
    twister_kernel(const __grid_constant__ TwisterState state, int64_t skip, int64_t n, uint32_t* draws) {
  // Word k of the sequence is at k mod 1024. What a step writes, words k + 624 on, overlaps nothing that it reads; what
  // the step before has read is done with after the barrier between them.
  constexpr int kRing = 1024;
  static_assert(kTwisterSize + kTwisterStep <= kRing && kTwisterStep <= kThreads);
  HN_SHARED(uint32_t, ring, [kRing]);
  const int thread = static_cast<int>(threadIdx.x);
  for (int i = thread; i < kTwisterSize; i += kThreads) ring[i] = state.words[i];
  __syncthreads();
  for (int64_t done = 0; done < skip + n; done += kTwisterStep) {
    if (thread < kTwisterStep) {
      const int64_t k = done + thread;
      const auto word = [&](int ahead) -> uint32_t& { return ring[(k + ahead) % kRing]; };
      const uint32_t y = (word(0) & 0x80000000u) | (word(1) & 0x7fffffffu);
      const uint32_t next = word(kTwisterShift) ^ (y >> 1) ^ ((y & 1u) != 0 ? 0x9908b0dfu : 0u);
      word(kTwisterSize) = next;
      if (k >= skip && k < skip + n) draws[k - skip] = tempered(next);
    }
    __syncthreads();
  }
}

HN_DEVICE float uniform_of(uint32_t draw) { return static_cast<float>(draw & 0xffffffu) * 5.9604644775390625e-8f; }

template <class T>
__global__ void __launch_bounds__(kThreads, 1) torch_uniform_kernel(const uint32_t* draws, int64_t n, T* y) {
  const int64_t i = thread_number();
  if (i < n) y[i] = narrow<T>(uniform_of(draws[i]));
}

/// sin and cos of an angle in [0, 2π]. Angles so small need no more than two parts of π / 2, and no stack.
HN_DEVICE void sin_cos(float angle, float& sine, float& cosine) {
  const float quarters = rintf(angle * 0.636619772f);
  const float near = fmaf(quarters, 4.37113883e-8f, fmaf(quarters, -1.57079637f, angle));
  float s, c;
  sin_cos_near_zero(near, s, c);
  turn(static_cast<uint32_t>(quarters) & 3u, s, c, sine, cosine);
}

/// One thread a pair: elements j and j + 8 of a block of 16. Where n is no multiple of 16, the last 16 elements come
/// from 16 draws of their own, over the end of the last whole block too.
template <class T>
__global__ void __launch_bounds__(kThreads, 1) torch_normal_kernel(const uint32_t* draws, int64_t n, T* y) {
  constexpr int kHalf = kTorchBlock / 2;
  const int64_t block = thread_number() / kHalf, blocks = n / kTorchBlock, rest = n % kTorchBlock;
  const bool last = block == blocks;
  if (block >= blocks + (rest > 0 ? 1 : 0)) return;
  const int64_t from = (last ? n : block * kTorchBlock) + thread_number() % kHalf;
  const int64_t to = last ? from - kTorchBlock : from;
  const int64_t end = last || rest == 0 ? n : n - kTorchBlock;
  // 2π v is one f32 product, as in PyTorch's vector code: in f64 the result would differ by more than the last bit.
  const float radius = sqrtf(-2.0f * logf(1.0f - uniform_of(draws[from])));
  float sine, cosine;
  sin_cos(6.283185307179586f * uniform_of(draws[from + kHalf]), sine, cosine);
  if (to < end) y[to] = narrow<T>(radius * cosine);
  if (to + kHalf < end) y[to + kHalf] = narrow<T>(radius * sine);
}

/// Fewer than 16 normals, one thread a pair; f64's cos has a stack for arguments larger than these. The first pair was
/// drawn by a former call where its second is `kept`.
template <class T>
__global__ void __launch_bounds__(kWarp, 1) torch_few_kernel(const uint32_t* draws, int n, bool kept, T* y) {
  const int pair = static_cast<int>(threadIdx.x), first = 2 * pair - (kept ? 1 : 0);
  if (first >= n) return;
  const auto uniform53 = [&](int at) {
    const uint64_t both = static_cast<uint64_t>(draws[at]) << 32 | draws[at + 1];
    return static_cast<double>(both & ((uint64_t{1} << 53) - 1)) * 1.1102230246251565e-16;
  };
  const double angle = 6.283185307179586 * uniform53(kPairDraws * pair);
  const double radius = sqrt(-2.0 * log1p(-uniform53(kPairDraws * pair + 2)));
  if (first >= 0) y[first] = narrow<T>(radius * cos(angle));
  if (first + 1 < n) y[first + 1] = narrow<T>(radius * sin(angle));
}

Status draw(const Context& ctx, const TwisterState& state, int64_t skip, int64_t n, uint32_t* draws) {
  return HN_LAUNCH((twister_kernel), n > 0 ? 1 : 0, kThreads, 0, ctx, state, skip, n, draws);
}

template <class T>
Status few_normals(const Context& ctx, const TorchRandomArgs& a, uint32_t* draws) {
  const int n = static_cast<int>(a.y.elements());
  const bool kept = a.kept >= 0;
  const TwisterState state = seeded(a.seed);
  const int before = kept ? kPairDraws : 0, fresh = (n - (kept ? 1 : 0) + 1) / 2 * kPairDraws;
  HN_RETURN_IF_ERROR(draw(ctx, state, a.kept, before, draws));
  HN_RETURN_IF_ERROR(draw(ctx, state, a.skip, fresh, draws + before));
  return HN_LAUNCH((torch_few_kernel<T>), 1, kWarp, 0, ctx, draws, n, kept, a.y.as<T>());
}

}  // namespace

// --- launchers ------------------------------------------------------------------------------------------------------

HN_SUPPORTS(philox, kFloats | kFloat64);
HN_SUPPORTS(torch_random, kFloats);

Status philox(const Context& ctx, const PhiloxArgs& a) {
  const int64_t n = a.y.elements();
  const int bits = a.y.dtype == DType::bf16 ? 8 : a.y.dtype == DType::f16 ? 11 : 24;
  const Philox of{static_cast<uint32_t>(a.seed_low), static_cast<uint32_t>(a.seed_high), ~uint32_t{0} << (32 - bits),
                  a.kind == PhiloxArgs::Kind::normal};
  const int shift = static_cast<int>(a.offset % 4);  // element 0 is word `shift` of its counter
  return with_types<float, double, bf16, f16>(a.y.dtype, [&](auto storage) {
    using T = decltype(storage);
    return HN_LAUNCH((philox_kernel<T>), n > 0 ? ceil_div(n + shift, 4 * kThreads) : 0, kThreads, 0, ctx, a.y.as<T>(),
                     n, a.offset / 4, shift, of);
  });
}

Status torch_random(const Context& ctx, const TorchRandomArgs& a) {
  const int64_t n = a.y.elements();
  if (n == 0) return {};
  const bool normal = a.kind == TorchRandomArgs::Kind::normal;
  const int64_t count = n + (normal && n % kTorchBlock != 0 ? kTorchBlock : 0);
  uint32_t* const draws = ctx.workspace<uint32_t>(std::max<int64_t>(count, (kTorchBlock / 2 + 1) * kPairDraws));
  if (draws == nullptr) return Status::no_memory();
  return with_storage(a.y.dtype, [&](auto storage) -> Status {
    using T = decltype(storage);
    if (normal && n < kTorchBlock) return few_normals<T>(ctx, a, draws);
    HN_RETURN_IF_ERROR(draw(ctx, seeded(a.seed), a.skip, count, draws));
    if (normal) {
      const int64_t pairs = ceil_div(n, kTorchBlock) * (kTorchBlock / 2);
      return HN_LAUNCH((torch_normal_kernel<T>), ceil_div(pairs, kThreads), kThreads, 0, ctx, draws, n, a.y.as<T>());
    }
    return HN_LAUNCH((torch_uniform_kernel<T>), ceil_div(n, kThreads), kThreads, 0, ctx, draws, n, a.y.as<T>());
  });
}

}  // namespace hn::cuda
