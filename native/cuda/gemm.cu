// Which kernel a matrix product gets, and the sum of its parts where K is cut.
//
// Splits: a weight's gradient has few tiles and a K as long as there are tokens; a product of a few rows has few tiles
// too. Parts of K then go to different blocks, each leaves its sums in f32, and a second kernel adds them in order: the
// same bytes each time. Bytes of that: (2 · splits) · 4 M N.
#include <algorithm>
#include <cstdio>

#include "cuda/device/gemm_kernel.cuh"

namespace hn::cuda {
namespace {

constexpr int kSumThreads = 128;

/// A thread adds the parts of eight neighbours and finishes them.
__global__ void __launch_bounds__(kSumThreads, 1)
    sum_parts_kernel(const __grid_constant__ Gemm g, const float* shares, int parts, int64_t groups) {
  int64_t i = static_cast<int64_t>(blockIdx.x) * kSumThreads + threadIdx.x;
  if (i >= groups) return;
  const int64_t pitch = AnyEpilogue::share_pitch(g.n), per_row = pitch / 8;
  const int64_t row = i / per_row, n = (i - row * per_row) * 8, batch = row / g.m, m = row - batch * g.m;
  const float* from = shares + row * pitch + n;
  float sum[8] = {};
#pragma unroll 2
  for (int p = 0; p < parts; ++p, from += g.batch * g.m * pitch) {
#pragma unroll
    for (int k = 0; k < 8; k += 4) {
      float part[4];
      load_pack<4>(from + k, part);
#pragma unroll
      for (int c = 0; c < 4; ++c) sum[k + c] += part[c];
    }
  }
  const int count = static_cast<int>(min(g.n - n, int64_t{8}));
  const GemmEpilogue epilogue(g.epilogue, batch);
  epilogue.row(epilogue.columns(n, count), m, n, count, sum);
}

/// The largest access of 16, 8 or 4 bytes that always fits, or less.
int alignment_of(const TensorView& t) {
  const int64_t size = info(t.dtype).block_bytes;
  if (t.rank > 0 && t.dim(-1) != 1 && t.stride(-1) != 1) return static_cast<int>(size);
  uint64_t bits = reinterpret_cast<uintptr_t>(t.data) | 16;
  for (int i = 0; i + 1 < t.rank; ++i) {
    if (t.shape[i] != 1) bits |= static_cast<uint64_t>(t.strides[i] * size);
  }
  return static_cast<int>(bits & (~bits + 1));
}

/// Whether the loaders of aligned rows, `length` elements each, can read it.
bool is_wide(const Matrix& m, Major major, int64_t length, int alignment) {
  return m.step == 1 && m.alignment >= alignment && length % 8 == 0 && (major == Major::k || m.steps.fits());
}

/// In units of one large tile a multiprocessor.
constexpr double kSmallTileCost = 0.2;  // an eighth of the products, at about 0.6 of the large tile's rate
constexpr int64_t kReferenceSms = 132;

}  // namespace

int GemmChoice::describe(char* text, int size) const {
  return std::snprintf(text, static_cast<size_t>(size), "%s, K in %d x %lld", large ? "128x256x32" : "64x64x32", splits,
                       static_cast<long long>(k_split));
}

GemmChoice choose_config(int64_t m, int64_t n, int64_t k, int64_t batch, int sm_count) {
  constexpr int64_t kMinPart = 1024, kMaxParts = 32, kMaxBytes = int64_t{256} << 20;
  const double large = static_cast<double>(batch * ceil_div(m, 128) * ceil_div(n, 256));
  const double small = static_cast<double>(batch * ceil_div(m, 64) * ceil_div(n, 64));
  const auto cost = [&](double sms, int64_t parts, bool use_large) {
    const double turns = std::max(1.0, (use_large ? large : small) * static_cast<double>(parts) / sms);
    const double whole = turns < 16 ? static_cast<double>(static_cast<int64_t>(turns + 0.999999)) : turns;
    return whole * (use_large ? 1.0 : kSmallTileCost) / static_cast<double>(parts);
  };
  // Writing and reading a part takes about as long as multiplying some 400 of K.
  const double extra =
      400.0 / static_cast<double>(std::max<int64_t>(k, 1)) * std::min(large, small / 8) / kReferenceSms;
  int64_t parts = 1;
  double best = 0;
  for (int64_t p = 1; p <= std::min(kMaxParts, k / kMinPart + 1); ++p) {
    if (p > 1 && (k / p < kMinPart || p * batch * m * n * 4 > kMaxBytes)) break;
    const double now = std::min(cost(kReferenceSms, p, true), cost(kReferenceSms, p, false)) +
                       (p > 1 ? extra * static_cast<double>(p) : 0);
    if (p == 1 || now < best * 0.95) best = now, parts = p;
  }
  GemmChoice choice;
  choice.k_split = std::max<int64_t>(1, ceil_div(ceil_div(k, parts), kSplitUnit)) * kSplitUnit;
  choice.splits = static_cast<int>(std::max<int64_t>(1, ceil_div(k, choice.k_split)));
  choice.large = cost(sm_count, choice.splits, true) <= cost(sm_count, choice.splits, false);
  return choice;
}

Matrix rows_matrix(const TensorView& t) {
  Matrix m;
  m.data = t.data;
  m.dtype = t.dtype;
  m.rows = RowMap(t);
  m.steps = RowSteps(m.rows, t.rows(), info(t.dtype).block_bytes, Matrix::kUnit);
  m.step = t.dim(-1) == 1 ? 1 : t.stride(-1);
  m.alignment = alignment_of(t);
  return m;
}

Matrix batched_matrix(const TensorView& t) {
  TensorView one = t;
  one.rank = 2;
  for (int i = 0; i < 2; ++i) one.shape[i] = t.dim(i - 2), one.strides[i] = t.stride(i - 2);
  Matrix m = rows_matrix(one);
  m.batch = RowMap(t, t.rank - 2);
  m.alignment = alignment_of(t);
  return m;
}

Status gemm(const Context& ctx, const Gemm& g) {
  if (g.m == 0 || g.n == 0 || g.batch == 0) return {};
  if (g.k > INT32_MAX - 1024) return Status::missing("the product's inner axis is too long for the CUDA kernels");
  if (fits_gemm_vector(g)) return gemm_vector(ctx, g);

  const GemmChoice choice = choose_config(g.m, g.n, g.k, g.batch, ctx.device().sm_count);
  float* shares = nullptr;
  if (choice.splits > 1) {
    shares = ctx.workspace<float>(choice.splits * g.batch * g.m * AnyEpilogue::share_pitch(g.n));
    if (shares == nullptr) return Status::no_memory();
  }
  const GemmLaunch launch{ctx, g, choice, shares};
  const auto multiply = [&] {
    const bool half_a = g.a.dtype == DType::bf16 || g.a.dtype == DType::f16,
               factors = static_cast<bool>(g.k_factors.data);
    const auto wide = [&](const Matrix& m, Major major, int64_t mn, int alignment) {
      return is_wide(m, major, major == Major::k ? g.k : mn, alignment);
    };
    const bool wide_a = wide(g.a, g.a_major, g.m, 16);
    if (half_a && g.b.dtype == g.a.dtype && !factors) {
      const bool both = wide_a && wide(g.b, g.b_major, g.n, 16);
      return g.a.dtype == DType::bf16 ? gemm_bf16(launch, both) : gemm_f16(launch, both);
    }
    const bool f8 = g.b.dtype == DType::f8e4m3 && wide(g.b, g.b_major, g.n, 8) && wide_a && g.a_major == Major::k;
    if (half_a && f8 && (!factors || g.a.dtype == DType::bf16)) return gemm_f8(launch);
    return gemm_plain(launch);
  };
  HN_RETURN_IF_ERROR(multiply());
  if (shares == nullptr) return {};
  const int64_t groups = g.batch * g.m * (AnyEpilogue::share_pitch(g.n) / 8);
  return HN_LAUNCH((sum_parts_kernel), ceil_div(groups, kSumThreads), kSumThreads, 0, ctx, g, shares, choice.splits,
                   groups);
}

}  // namespace hn::cuda
