#include "test/replayed_call.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "test/suite.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#endif

namespace hn::test {
namespace {

template <class T>
T load(const char* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

/// A float of 1 sign bit, then exponent, then mantissa bits, whose largest exponent means infinity or NaN; f8e4m3 has
/// no infinity, only one NaN.
double small_float(unsigned bits, int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1, largest = (1 << exponent_bits) - 1;
  const int exponent = static_cast<int>(bits >> mantissa_bits) & largest;
  const int mantissa = static_cast<int>(bits & ((1u << mantissa_bits) - 1));
  const double sign = bits >> (exponent_bits + mantissa_bits) & 1 ? -1 : 1;
  const bool f8 = exponent_bits == 4;
  if (f8 && exponent == largest && mantissa == 7) return NAN;
  if (!f8 && exponent == largest) return mantissa ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
}

double element(DType dtype, const char* from) {
  switch (dtype) {
    case DType::f32:
      return load<float>(from);
    case DType::f64:
      return load<double>(from);
    case DType::f16:
      return small_float(load<uint16_t>(from), 5, 10);
    case DType::bf16:
      return small_float(load<uint16_t>(from), 8, 7);
    case DType::f8e4m3:
      return small_float(load<uint8_t>(from), 4, 3);
    default:
      return NAN;
  }
}

double tolerance(DType dtype) {
  switch (dtype) {
    case DType::f32:
    case DType::f64:  // too: philox makes its numbers in f32, whatever type they are stored in
      return 2e-5;
    case DType::f16:
      return 4e-3;
    case DType::bf16:
      return 3e-2;
    case DType::f8e4m3:
      return 0.25;
    default:
      return 0;
  }
}

}  // namespace

std::string compare(const RecordedUse& use, const char* got, double slack) {
  const char* want = use.after.data();
  if (use.bytes == 0 || std::memcmp(got, want, use.bytes) == 0) return "";
  const DType dtype = use.view.dtype;
  if (!is_float(dtype)) return format_tensor(use.view) + " differs";
  const auto size = static_cast<size_t>(bytes_of(dtype, 1));
  // Inputs are of the order of 1: a result much smaller than that is what is left of larger terms, and their roundings.
  double largest = 1;
  for (size_t at = 0; at < use.bytes; at += size) {
    const double value = std::fabs(element(dtype, want + at));
    if (std::isfinite(value)) largest = std::max(largest, value);
  }
  for (size_t at = 0; at < use.bytes; at += size) {
    const double a = element(dtype, got + at), b = element(dtype, want + at);
    if (a == b || (std::isnan(a) && std::isnan(b)) || std::fabs(a - b) <= slack * tolerance(dtype) * largest) continue;
    char text[128];
    std::snprintf(text, sizeof text, " element %zu is %.9g, was %.9g", at / size, a, b);
    return format_tensor(use.view) + text;
  }
  return "";
}

HeapBlock::HeapBlock(size_t bytes, size_t misalignment) : skipped_(misalignment) {
  void* start = nullptr;
  HN_CHECK(posix_memalign(&start, 64, skipped_ + bytes) == 0);
  start_ = static_cast<char*>(start);
  std::memset(data(), 0xFF, bytes);
  ASAN_POISON_MEMORY_REGION(start_, skipped_);
}

HeapBlock::~HeapBlock() {
  ASAN_UNPOISON_MEMORY_REGION(start_, skipped_);
  std::free(start_);
}

ReplayedCall::ReplayedCall(const Case& recorded) : recorded_(recorded) {
  for (const RecordedUse& use : recorded.tensors) {
    tensors_.push_back(std::make_unique<HeapBlock>(use.bytes, use.misalignment));
    if (!use.before.empty()) std::memcpy(tensors_.back()->data(), use.before.data(), use.bytes);
    views_.push_back(use.view);
    views_.back().data = tensors_.back()->data();
  }
  call_ = {recorded.op,
           static_cast<uint32_t>(recorded.arg_counts.size()),
           recorded.arg_counts.data(),
           views_.data(),
           recorded.attrs.data(),
           static_cast<uint32_t>(recorded.attrs.size())};
  host_.self = &workspaces_;
  host_.order = 1;
  host_.workspace = [](void* self, size_t bytes) -> void* {
    auto& blocks = *static_cast<decltype(workspaces_)*>(self);
    blocks.push_back(std::make_unique<HeapBlock>(bytes, 0));
    return blocks.back()->data();
  };
  host_.checks_data = [](void*) {};
}

std::string ReplayedCall::check(double slack) const {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const RecordedUse& use = recorded_.tensors[i];
    const char* const got = tensors_[i]->data();
    if (use.written) {
      if (std::string problem = compare(use, got, slack); !problem.empty()) return problem;
    } else if (use.bytes > 0 && std::memcmp(got, use.before.data(), use.bytes) != 0) {
      return "an input was written: " + format_tensor(use.view);
    }
  }
  return "";
}

}  // namespace hn::test
