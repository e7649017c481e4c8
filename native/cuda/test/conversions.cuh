// Conversions between float types: every code of the small ones, and floats at and beside each place where rounding
// turns.
#pragma once

#include "cuda/device/ptx.cuh"
#include "cuda/test/formats.h"
#include "cuda/test/suite.h"

namespace hn::cuda::test {

template <class Function, class In, class Out>
__global__ void map_kernel(const In* in, Out* out, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) out[i] = Function::of(in[i]);
}

/// Function::of of each value, by threads of one grid.
template <class Function, class Out, class In>
std::vector<Out> map(Suite& suite, const std::string& name, const std::vector<In>& in) {
  constexpr int kThreads = 128;
  const Buffer<In> from(in);
  const Buffer<Out> to(in.size());
  const auto count = static_cast<int>(in.size());
  suite.launched(name, HN_LAUNCH((map_kernel<Function, In, Out>), ceil_div(count, kThreads), kThreads, 0, suite.ctx,
                                 from.data(), to.data(), count));
  return to.read();
}

struct Bits {
  static HN_DEVICE uint32_t of(uint32_t u) { return ptx::float_bits(ptx::bits_float(u)); }
};
struct ToBf16 {
  static HN_DEVICE uint16_t of(float x) { return ptx::float_to_bf16(x); }
};
struct ToF16 {
  static HN_DEVICE uint16_t of(float x) { return ptx::float_to_f16(x); }
};
struct ToF8e4m3 {
  static HN_DEVICE uint8_t of(float x) { return ptx::float_to_f8e4m3(x); }
};
struct ToTf32 {
  // mma_tf32 looks at no more than these bits.
  static HN_DEVICE uint32_t of(float x) { return ptx::float_to_tf32(x) & 0xffffe000u; }
};
struct FromBf16 {
  static HN_DEVICE float of(uint16_t h) { return ptx::bf16_to_float(h); }
};
struct FromF16 {
  static HN_DEVICE float of(uint16_t h) { return ptx::f16_to_float(h); }
};
struct FromF8e4m3 {
  static HN_DEVICE float of(uint8_t b) { return ptx::f8e4m3_to_float(b); }
};
struct PackBf16 {
  static HN_DEVICE uint32_t of(float x) { return ptx::pack_bf16(x, 3.0f - x); }
};
struct PackF16 {
  static HN_DEVICE uint32_t of(float x) { return ptx::pack_f16(x, 3.0f - x); }
};

/// Every exponent, with mantissas at and next to the middle between two codes of each small type, and random bits.
inline std::vector<float> turning_points() {
  constexpr uint32_t kMantissas[] = {0,       1,        0x0fff,   0x1000,   0x1001,   0x2fff,   0x3000,
                                     0x7fff,  0x8000,   0x8001,   0x17fff,  0x18000,  0x7ffff,  0x80000,
                                     0x80001, 0x17ffff, 0x180000, 0x3fffff, 0x400000, 0x680000, 0x7fffff};
  std::vector<float> values;
  for (uint32_t exponent = 0; exponent < 256; ++exponent) {
    for (const uint32_t mantissa : kMantissas) {
      values.push_back(float_of(exponent << 23 | mantissa));
      values.push_back(float_of(0x80000000u | exponent << 23 | mantissa));
    }
  }
  for (size_t i = 0; i < 4096; ++i) values.push_back(float_of(random_bits(i, 1)));
  // Where the values of small types are dense.
  for (size_t i = 0; i < 4096; ++i) values.push_back(500.0f * random_unit(i, 2));
  return values;
}

template <class Function, class Out>
void test_narrowing(Suite& suite, const std::string& name, const Format& format, int shift) {
  const std::vector<float> in = turning_points();
  std::vector<Out> want;
  for (const float x : in) want.push_back(static_cast<Out>(encode(static_cast<double>(x), format) << shift));
  suite.exact(name, map<Function, Out>(suite, name, in), want);
}

template <class Function, class In>
void test_widening(Suite& suite, const std::string& name, const Format& format) {
  std::vector<In> in;
  std::vector<float> want;
  for (uint32_t code = 0; code < 2 * format.sign; ++code) {
    in.push_back(static_cast<In>(code));
    want.push_back(static_cast<float>(decode(code, format)));
  }
  suite.exact(name, map<Function, float>(suite, name, in), want);
}

template <class Function>
void test_packing(Suite& suite, const std::string& name, const Format& format) {
  std::vector<float> in;
  std::vector<uint32_t> want;
  for (size_t i = 0; i < 1024; ++i) {
    in.push_back(random_unit(i, 3));
    const float high = 3.0f - in.back();
    want.push_back(encode(static_cast<double>(in.back()), format) | encode(static_cast<double>(high), format) << 16);
  }
  suite.exact(name, map<Function, uint32_t>(suite, name, in), want);
}

inline void test_conversions(Suite& suite) {
  std::vector<uint32_t> bits;
  for (size_t i = 0; i < 1024; ++i) bits.push_back(random_bits(i, 4));
  suite.exact("float_bits", map<Bits, uint32_t>(suite, "float_bits", bits), bits);
  test_narrowing<ToBf16, uint16_t>(suite, "float_to_bf16", kBf16, 0);
  test_narrowing<ToF16, uint16_t>(suite, "float_to_f16", kF16, 0);
  test_narrowing<ToF8e4m3, uint8_t>(suite, "float_to_f8e4m3", kF8e4m3, 0);
  test_narrowing<ToTf32, uint32_t>(suite, "float_to_tf32", kTf32, 13);
  test_widening<FromBf16, uint16_t>(suite, "bf16_to_float", kBf16);
  test_widening<FromF16, uint16_t>(suite, "f16_to_float", kF16);
  test_widening<FromF8e4m3, uint8_t>(suite, "f8e4m3_to_float", kF8e4m3);
  test_packing<PackBf16>(suite, "pack_bf16", kBf16);
  test_packing<PackF16>(suite, "pack_f16", kF16);
}

}  // namespace hn::cuda::test
