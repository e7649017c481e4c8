// What becomes of the finished sums of a product: out = residual + gate · act(sum · scale + bias), each part but `out`
// may be missing. In f32, rounded once, when stored. Meets the contract of gemm_tile.cuh.
#pragma once

#include "cuda/device/activation.cuh"
#include "cuda/device/any_pack.cuh"
#include "cuda/device/index.cuh"

namespace hn::cuda {

/// In the order of LinearArgs::Activation.
enum class Activation : int32_t { none, gelu, gelu_erf, silu };

/// Made on the host, passed to kernels by value.
struct EpilogueArgs {
  AnyOut out;
  RowMap out_rows, out_batch;
  int64_t out_step = 1;
  AnyPtr scale;  // f32; the factor of element (m, n) is scale[m · scale_m + n · scale_n]
  int64_t scale_m = 0, scale_n = 0;
  AnyPtr bias;
  int64_t bias_step = 1;
  Activation activation = Activation::none;
  AnyPtr gate;  // a row for each group of consecutive rows of the result
  RowMap gate_rows;
  int64_t gate_step = 1;
  Divider rows_per_gate;
  AnyPtr residual;
  RowMap residual_rows;
  int64_t residual_step = 1;
  bool packed = false;  // out, gate and residual are read and written eight neighbours at once
};

template <bool kApproximate>
HN_DEVICE void activate(Activation kind, float (&v)[8]) {
  switch (kind) {
    case Activation::none:
      return;
    case Activation::gelu:
#pragma unroll
      for (int i = 0; i < 8; ++i) v[i] *= sigmoid<kApproximate>(twice_gelu_u(v[i]));
      return;
    case Activation::gelu_erf:
#pragma unroll
      for (int i = 0; i < 8; ++i) v[i] *= normal_cdf(v[i]);
      return;
    case Activation::silu:
#pragma unroll
      for (int i = 0; i < 8; ++i) v[i] *= sigmoid<kApproximate>(v[i]);
      return;
  }
}

class GemmEpilogue {
 public:
  struct Columns {
    float scale[8], bias[8];
  };

  HN_DEVICE GemmEpilogue(const EpilogueArgs& args, int64_t batch) : e_(args), offset_(args.out_batch(batch)) {}

  HN_DEVICE Columns columns(int64_t n, int count) const {
    Columns c;
    if (e_.scale) load_some(e_.scale, n * e_.scale_n, e_.scale_n, count, 1.0f, c.scale);
    if (e_.bias) load_some(e_.bias, n * e_.bias_step, e_.bias_step, count, 0.0f, c.bias);
    return c;
  }

  HN_DEVICE void row(const Columns& c, int64_t m, int64_t n, int count, float (&v)[8]) const {
    if (e_.scale) {
      const bool by_rows = e_.scale_m != 0;  // else by columns, or the same for all
      const float factor = by_rows ? e_.scale.load(m * e_.scale_m) : 1.0f;
#pragma unroll
      for (int i = 0; i < 8; ++i) v[i] *= by_rows ? factor : c.scale[i];
    }
    if (e_.bias) {
#pragma unroll
      for (int i = 0; i < 8; ++i) v[i] += c.bias[i];
    }
    if (e_.out.dtype == DType::f32) {
      activate<false>(e_.activation, v);
    } else {
      activate<true>(e_.activation, v);  // see kRounded
    }
    const bool eight = e_.packed && count == 8;
    float u[8];
    if (e_.gate) {
      load(e_.gate, e_.gate_rows(e_.rows_per_gate.quotient(m)) + n * e_.gate_step, e_.gate_step, count, eight, u);
#pragma unroll
      for (int i = 0; i < 8; ++i) v[i] *= u[i];
    }
    if (e_.residual) {
      load(e_.residual, e_.residual_rows(m) + n * e_.residual_step, e_.residual_step, count, eight, u);
#pragma unroll
      for (int i = 0; i < 8; ++i) v[i] += u[i];
    }
    const int64_t at = offset_ + e_.out_rows(m) + n * e_.out_step;
    if (eight) {
      store_eight(e_.out, at, v);
    } else {
      store_some(e_.out, at, e_.out_step, count, v);
    }
  }

 private:
  HN_DEVICE static void load(const AnyPtr& p, int64_t at, int64_t step, int count, bool eight, float (&v)[8]) {
    if (eight) {
      load_eight(p, at, v);
    } else {
      load_some(p, at, step, count, 0.0f, v);
    }
  }

  const EpilogueArgs& e_;
  int64_t offset_;
};

}  // namespace hn::cuda
