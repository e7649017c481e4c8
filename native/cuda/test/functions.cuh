// Functions of floats that the kernels call. Those that IEEE 754 defines are the same everywhere; of the others CUDA's
// manual tells how many units in the last place they may be off, and the host's library may be off by one more.
#pragma once

#include "cuda/test/conversions.cuh"

namespace hn::cuda::test {

#define HN_TEST_FUNCTION(Name, expression)                    \
  struct Name {                                               \
    static HN_DEVICE float of(float x) { return expression; } \
  }
HN_TEST_FUNCTION(Exp2Approx, ptx::exp2_approx(x));
HN_TEST_FUNCTION(Expf, expf(x));
HN_TEST_FUNCTION(FastExp, __expf(x));
HN_TEST_FUNCTION(Exp2f, exp2f(x));
HN_TEST_FUNCTION(Logf, logf(x));
HN_TEST_FUNCTION(FastLog, __logf(x));
HN_TEST_FUNCTION(Tanhf, tanhf(x));
HN_TEST_FUNCTION(Erff, erff(x));
HN_TEST_FUNCTION(Sinf, sinf(x));
HN_TEST_FUNCTION(Cosf, cosf(x));
HN_TEST_FUNCTION(Rsqrtf, rsqrtf(x));
HN_TEST_FUNCTION(FastQuotient, __fdividef(3.0f, x));
HN_TEST_FUNCTION(Sqrtf, sqrtf(x));
HN_TEST_FUNCTION(Rintf, rintf(x));
HN_TEST_FUNCTION(Fmaf, fmaf(x, 1.0000001f, -x));
HN_TEST_FUNCTION(Quotient, 1.0f / x);
#undef HN_TEST_FUNCTION

/// 4,096 values, evenly from `low` to `high`.
inline std::vector<float> range_of(float low, float high) {
  constexpr int kCount = 4096;
  std::vector<float> values;
  for (int i = 0; i < kCount; ++i) {
    values.push_back(low + (high - low) * (static_cast<float>(i) / static_cast<float>(kCount - 1)));
  }
  return values;
}

template <class Function, class Right, class Ulps>
void test_approximation(Suite& suite, const std::string& name, const std::vector<float>& in, Right&& right,
                        Ulps&& ulps) {
  std::vector<double> want;
  std::vector<float> allowed;
  for (const float x : in) {
    const double y = right(static_cast<double>(x));
    want.push_back(y);
    // Below the smallest normal number a fast function answers zero.
    const double flushed = std::fabs(y) < 0x1p-125 ? 0x1p-126 : 0;
    allowed.push_back(std::isfinite(y) ? static_cast<float>(ulps(std::fabs(static_cast<double>(x))) * ulp(y) + flushed)
                                       : 0.0f);
  }
  suite.within(name, map<Function, float>(suite, name, in), want, allowed);
}

template <class Function, class Right>
void test_function(Suite& suite, const std::string& name, const std::vector<float>& in, Right&& right) {
  std::vector<float> want;
  for (const float x : in) want.push_back(right(x));
  suite.exact(name, map<Function, float>(suite, name, in), want);
}

inline void test_functions(Suite& suite) {
  const auto few = [](double) { return 4.0; };
  const auto exp = [](double x) { return std::exp(x); };
  const auto exp2 = [](double x) { return std::exp2(x); };
  const auto log = [](double x) { return std::log(x); };
  test_approximation<Exp2Approx>(suite, "exp2_approx", range_of(-160, 127.9f), exp2, few);
  test_approximation<Exp2Approx>(suite, "exp2_approx-small", range_of(-2, 2), exp2, few);
  test_approximation<Exp2f>(suite, "exp2f", range_of(-126, 127.9f), exp2, few);
  test_approximation<Expf>(suite, "expf", range_of(-87, 88.7f), exp, few);
  test_approximation<FastExp>(suite, "__expf", range_of(-87, 88.5f), exp, [](double x) { return 4 + 1.2 * x; });
  test_approximation<Logf>(suite, "logf", range_of(1e-6f, 100), log, few);
  test_approximation<FastLog>(suite, "__logf", range_of(2.1f, 1000), log, few);
  test_approximation<Tanhf>(
      suite, "tanhf", range_of(-10, 10), [](double x) { return std::tanh(x); }, few);
  test_approximation<Erff>(
      suite, "erff", range_of(-5, 5), [](double x) { return std::erf(x); }, few);
  test_approximation<Sinf>(
      suite, "sinf", range_of(-600, 600), [](double x) { return std::sin(x); }, few);
  test_approximation<Cosf>(
      suite, "cosf", range_of(-600, 600), [](double x) { return std::cos(x); }, few);
  test_approximation<Rsqrtf>(
      suite, "rsqrtf", range_of(1e-6f, 100), [](double x) { return 1 / std::sqrt(x); }, few);
  test_approximation<FastQuotient>(
      suite, "__fdividef", range_of(0.01f, 100), [](double x) { return 3 / x; }, few);

  std::vector<float> normal;
  for (const float x : turning_points()) {
    if (std::isnormal(x) || x == 0) normal.push_back(x);
  }
  test_function<Sqrtf>(suite, "sqrtf", normal, [](float x) { return std::sqrt(x); });
  test_function<Rintf>(suite, "rintf", normal, [](float x) { return std::rint(x); });
  test_function<Quotient>(suite, "quotient", normal, [](float x) { return 1.0f / x; });
  test_function<Fmaf>(suite, "fmaf", range_of(-3, 3), [](float x) { return std::fma(x, 1.0000001f, -x); });
}

}  // namespace hn::cuda::test
