// What the instruction tests are made of: numbers that are the same on every machine, memory of the device, and results
// by name. Each result is compared here with plain C++ (`want`), and written to a file, so that a GPU's can be compared
// with the emulator's (bench/gpu/compare-instructions.mjs).
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "cuda/launch.h"

namespace hn::cuda::test {

// --- numbers
// ------------------------------------------------------------------------------------------------------------

inline uint32_t random_bits(size_t i, uint32_t stream) {
  uint32_t x = static_cast<uint32_t>(i) * 0x9e3779b9u ^ (stream + 1) * 0x85ebca6bu;
  x = (x ^ x >> 16) * 0x7feb352du;
  x = (x ^ x >> 15) * 0x846ca68bu;
  return x ^ x >> 16;
}
/// In [-1, 1), a multiple of 2^-23.
inline float random_unit(size_t i, uint32_t stream) {
  return static_cast<float>(static_cast<int32_t>(random_bits(i, stream)) >> 8) * 0x1p-23f;
}
/// Whole, from -limit to limit.
inline float random_whole(size_t i, uint32_t stream, int limit) {
  return static_cast<float>(static_cast<int>(random_bits(i, stream) % static_cast<uint32_t>(2 * limit + 1)) - limit);
}
inline float float_of(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

/// Distance of two floats that follow one another at x.
inline double ulp(double x) {
  const double magnitude = std::fabs(x);
  return magnitude < 0x1p-126 ? 0x1p-149 : std::ldexp(1.0, std::ilogb(magnitude) - 23);
}

// --- memory of the device
// -----------------------------------------------------------------------------------------------

#if !defined(HN_SIMT)
/// After an error of a kernel nothing more can be learnt from the device.
inline void must(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}
#endif

/// 256-byte aligned, on the device; under the emulator the process's own memory.
template <class T>
class Buffer {
 public:
  explicit Buffer(const std::vector<T>& from) : count_(from.size()) {
#if defined(HN_SIMT)
    data_ = static_cast<T*>(std::aligned_alloc(256, (bytes() + 255) / 256 * 256));
    std::memcpy(data_, from.data(), bytes());
#else
    must(cudaMalloc(&data_, bytes()), "cudaMalloc");
    must(cudaMemcpy(data_, from.data(), bytes(), cudaMemcpyHostToDevice), "cudaMemcpy to the device");
#endif
  }
  explicit Buffer(size_t zeros) : Buffer(std::vector<T>(zeros)) {}
  ~Buffer() {
#if defined(HN_SIMT)
    std::free(data_);
#else
    cudaFree(data_);
#endif
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  T* data() const { return data_; }

  /// Waits for the kernels before.
  std::vector<T> read() const {
    std::vector<T> to(count_);
#if defined(HN_SIMT)
    std::memcpy(to.data(), data_, bytes());
#else
    must(cudaMemcpy(to.data(), data_, bytes(), cudaMemcpyDeviceToHost), "a kernel, or cudaMemcpy from the device");
#endif
    return to;
  }

 private:
  size_t bytes() const { return count_ * sizeof(T); }

  T* data_ = nullptr;
  size_t count_;
};

// --- results
// ------------------------------------------------------------------------------------------------------------

template <class T>
struct TypeName;
template <>
struct TypeName<uint8_t> {
  static constexpr const char* kName = "u8";
};
template <>
struct TypeName<uint16_t> {
  static constexpr const char* kName = "u16";
};
template <>
struct TypeName<uint32_t> {
  static constexpr const char* kName = "u32";
};
template <>
struct TypeName<uint64_t> {
  static constexpr const char* kName = "u64";
};
template <>
struct TypeName<float> {
  static constexpr const char* kName = "f32";
};

/// Bit for bit; of floats any NaN is like any other.
template <class T>
bool same(T a, T b) {
  if constexpr (std::is_same_v<T, float>) {
    if (a != a && b != b) return true;
  }
  return std::memcmp(&a, &b, sizeof a) == 0;
}

class Suite {
 public:
  Suite(const Context& ctx, std::FILE* file) : ctx(ctx), file_(file) {}

  const Context& ctx;
  int results = 0, failures = 0;

  /// False, with a word on stderr, when a launch was refused.
  bool launched(const std::string& name, const Status& status) {
    if (status.ok()) return true;
    fail(name, status.message);
    return false;
  }

  /// A result that is the same on every device.
  template <class T>
  void exact(const std::string& name, const std::vector<T>& got, const std::vector<T>& want) {
    write_head<T>(name, "exact", got.size());
    write(got);
    for (size_t i = 0; i < want.size(); ++i) {
      if (same(got[i], want[i])) continue;
      fail(name, describe(i, static_cast<double>(got[i]), static_cast<double>(want[i])));
      return;
    }
  }

  /// A result that may differ by so much from what is right.
  void within(const std::string& name, const std::vector<float>& got, const std::vector<double>& want,
              const std::vector<float>& allowed) {
    write_head<float>(name, "within", got.size());
    write(got);
    write(allowed);
    for (size_t i = 0; i < want.size(); ++i) {
      const double off = std::fabs(got[i] - want[i]);
      if (same(got[i], static_cast<float>(want[i])) || off <= static_cast<double>(allowed[i])) continue;
      fail(name, describe(i, static_cast<double>(got[i]), want[i]));
      return;
    }
  }

 private:
  static std::string describe(size_t i, double got, double want) {
    char text[120];
    std::snprintf(text, sizeof text, "value %zu is %.9g, expected %.9g", i, got, want);
    return text;
  }
  void fail(const std::string& name, const std::string& what) {
    ++failures;
    std::fprintf(stderr, "%s: %s\n", name.c_str(), what.c_str());
  }
  template <class T>
  void write_head(const std::string& name, const char* rule, size_t count) {
    ++results;
    std::fprintf(file_, "%s %s %zu %s\n", name.c_str(), TypeName<T>::kName, count, rule);
  }
  template <class T>
  void write(const std::vector<T>& values) {
    std::fwrite(values.data(), sizeof(T), values.size(), file_);
  }

  std::FILE* file_;
};

void test_sm90(Suite& suite);  // instructions_sm90.cu

}  // namespace hn::cuda::test
