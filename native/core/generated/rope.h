// Written by `npm run gen`; do not edit.
#pragma once

#include "core/op_call.h"

namespace hn {

/// RMS norm over each head of q and k, times a weight, then rope (interleaved) of the first cos.shape[0] tokens
struct QkNormRopeArgs {
  TensorView q;
  TensorView k;
  TensorView q_weight;
  TensorView k_weight;
  TensorView cos;
  TensorView sin;
  TensorView q_out;
  TensorView k_out;
  double eps;
};

/// gradients of qk_norm_rope for what is wanted of the sides that are given (weights summed in a fixed order)
struct QkNormRopeBackwardArgs {
  TensorView dq_out;
  TensorView dk_out;
  TensorView q;
  TensorView k;
  TensorView q_weight;
  TensorView k_weight;
  TensorView cos;
  TensorView sin;
  TensorView dq;
  TensorView dk;
  TensorView dq_weight;
  TensorView dk_weight;
  double eps;
  bool want_q;
  bool want_k;
  bool want_q_weight;
  bool want_k_weight;
};

/// rotates the pairs of each head by the tables' angles, for the first cos.shape[0] tokens; others pass unchanged
struct RopeArgs {
  TensorView x;
  TensorView cos;
  TensorView sin;
  TensorView y;
  bool interleaved;
  bool transposed;
};

/// cos and sin of position / theta^(2j/d) for a grid, the columns of its axes side by side; angles rounded to f32
struct RopeTableArgs {
  TensorView cos;
  TensorView sin;
  IntList sizes;
  IntList axes;
  double theta;
  int64_t start;
  bool interleaved;
};

inline QkNormRopeArgs decode_qk_norm_rope(const OpCall& call) {
  CallReader in(call);
  QkNormRopeArgs a{};
  a.q = in.tensor();
  a.k = in.tensor();
  a.q_weight = in.tensor();
  a.k_weight = in.tensor();
  a.cos = in.tensor();
  a.sin = in.tensor();
  a.q_out = in.tensor();
  a.k_out = in.tensor();
  a.eps = in.number();
  return a;
}

inline QkNormRopeBackwardArgs decode_qk_norm_rope_backward(const OpCall& call) {
  CallReader in(call);
  QkNormRopeBackwardArgs a{};
  a.dq_out = in.tensor();
  a.dk_out = in.tensor();
  a.q = in.tensor();
  a.k = in.tensor();
  a.q_weight = in.tensor();
  a.k_weight = in.tensor();
  a.cos = in.tensor();
  a.sin = in.tensor();
  a.dq = in.tensor();
  a.dk = in.tensor();
  a.dq_weight = in.tensor();
  a.dk_weight = in.tensor();
  a.eps = in.number();
  a.want_q = in.integer() != 0;
  a.want_k = in.integer() != 0;
  a.want_q_weight = in.integer() != 0;
  a.want_k_weight = in.integer() != 0;
  return a;
}

inline RopeArgs decode_rope(const OpCall& call) {
  CallReader in(call);
  RopeArgs a{};
  a.x = in.tensor();
  a.cos = in.tensor();
  a.sin = in.tensor();
  a.y = in.tensor();
  a.interleaved = in.integer() != 0;
  a.transposed = in.integer() != 0;
  return a;
}

inline RopeTableArgs decode_rope_table(const OpCall& call) {
  CallReader in(call);
  RopeTableArgs a{};
  a.cos = in.tensor();
  a.sin = in.tensor();
  a.sizes = in.integers();
  a.axes = in.integers();
  a.theta = in.number();
  a.start = in.integer();
  a.interleaved = in.integer() != 0;
  return a;
}

}  // namespace hn
