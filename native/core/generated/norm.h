// Written by `npm run gen`; do not edit.
#pragma once

#include "core/op_call.h"

namespace hn {

/// out = x + y · gate, a row of gate for each sample or for each row
struct GateResidualArgs {
  TensorView x;
  TensorView y;
  TensorView gate;
  TensorView out;
};

/// gradients of gate_residual for y, and for gate when y is given (sums over rows in a fixed order)
struct GateResidualBackwardArgs {
  TensorView dout;
  TensorView y;
  TensorView gate;
  TensorView dy;
  TensorView dgate;
  bool want_y;
};

/// y = (x − mean) / sqrt(var + eps) · weight + bias with statistics over positions and a group's channels; then silu
struct GroupNormArgs {
  TensorView x;
  TensorView weight;
  TensorView bias;
  TensorView y;
  int64_t groups;
  double eps;
  bool silu;
};

/// gradients of group_norm for what is wanted (sums over positions in a fixed order)
struct GroupNormBackwardArgs {
  TensorView dy;
  TensorView x;
  TensorView weight;
  TensorView bias;
  TensorView dx;
  TensorView dweight;
  TensorView dbias;
  int64_t groups;
  double eps;
  bool silu;
  bool want_x;
  bool want_weight;
  bool want_bias;
};

/// y = (x − mean) / sqrt(var + eps) · weight + bias over the last axis, then · (1 + scale) + shift
struct LayerNormArgs {
  TensorView x;
  TensorView weight;
  TensorView bias;
  TensorView shift;
  TensorView scale;
  TensorView y;
  double eps;
};

/// gradients of layer_norm for what is wanted (sums over rows in a fixed order)
struct LayerNormBackwardArgs {
  TensorView dy;
  TensorView x;
  TensorView weight;
  TensorView bias;
  TensorView scale;
  TensorView dx;
  TensorView dweight;
  TensorView dbias;
  TensorView dshift;
  TensorView dscale;
  double eps;
  bool want_x;
  bool want_weight;
  bool want_bias;
  bool want_shift;
  bool want_scale;
};

/// y = x / sqrt(mean(x²) + eps) · weight over the last axis
struct RmsNormArgs {
  TensorView x;
  TensorView weight;
  TensorView y;
  double eps;
};

/// gradients of rms_norm for x and, when wanted, weight (summed over rows in a fixed order)
struct RmsNormBackwardArgs {
  TensorView dy;
  TensorView x;
  TensorView weight;
  TensorView dx;
  TensorView dweight;
  double eps;
  bool want_weight;
};

inline GateResidualArgs decode_gate_residual(const OpCall& call) {
  CallReader in(call);
  GateResidualArgs a{};
  a.x = in.tensor();
  a.y = in.tensor();
  a.gate = in.tensor();
  a.out = in.tensor();
  return a;
}

inline GateResidualBackwardArgs decode_gate_residual_backward(const OpCall& call) {
  CallReader in(call);
  GateResidualBackwardArgs a{};
  a.dout = in.tensor();
  a.y = in.tensor();
  a.gate = in.tensor();
  a.dy = in.tensor();
  a.dgate = in.tensor();
  a.want_y = in.integer() != 0;
  return a;
}

inline GroupNormArgs decode_group_norm(const OpCall& call) {
  CallReader in(call);
  GroupNormArgs a{};
  a.x = in.tensor();
  a.weight = in.tensor();
  a.bias = in.tensor();
  a.y = in.tensor();
  a.groups = in.integer();
  a.eps = in.number();
  a.silu = in.integer() != 0;
  return a;
}

inline GroupNormBackwardArgs decode_group_norm_backward(const OpCall& call) {
  CallReader in(call);
  GroupNormBackwardArgs a{};
  a.dy = in.tensor();
  a.x = in.tensor();
  a.weight = in.tensor();
  a.bias = in.tensor();
  a.dx = in.tensor();
  a.dweight = in.tensor();
  a.dbias = in.tensor();
  a.groups = in.integer();
  a.eps = in.number();
  a.silu = in.integer() != 0;
  a.want_x = in.integer() != 0;
  a.want_weight = in.integer() != 0;
  a.want_bias = in.integer() != 0;
  return a;
}

inline LayerNormArgs decode_layer_norm(const OpCall& call) {
  CallReader in(call);
  LayerNormArgs a{};
  a.x = in.tensor();
  a.weight = in.tensor();
  a.bias = in.tensor();
  a.shift = in.tensor();
  a.scale = in.tensor();
  a.y = in.tensor();
  a.eps = in.number();
  return a;
}

inline LayerNormBackwardArgs decode_layer_norm_backward(const OpCall& call) {
  CallReader in(call);
  LayerNormBackwardArgs a{};
  a.dy = in.tensor();
  a.x = in.tensor();
  a.weight = in.tensor();
  a.bias = in.tensor();
  a.scale = in.tensor();
  a.dx = in.tensor();
  a.dweight = in.tensor();
  a.dbias = in.tensor();
  a.dshift = in.tensor();
  a.dscale = in.tensor();
  a.eps = in.number();
  a.want_x = in.integer() != 0;
  a.want_weight = in.integer() != 0;
  a.want_bias = in.integer() != 0;
  a.want_shift = in.integer() != 0;
  a.want_scale = in.integer() != 0;
  return a;
}

inline RmsNormArgs decode_rms_norm(const OpCall& call) {
  CallReader in(call);
  RmsNormArgs a{};
  a.x = in.tensor();
  a.weight = in.tensor();
  a.y = in.tensor();
  a.eps = in.number();
  return a;
}

inline RmsNormBackwardArgs decode_rms_norm_backward(const OpCall& call) {
  CallReader in(call);
  RmsNormBackwardArgs a{};
  a.dy = in.tensor();
  a.x = in.tensor();
  a.weight = in.tensor();
  a.dx = in.tensor();
  a.dweight = in.tensor();
  a.eps = in.number();
  a.want_weight = in.integer() != 0;
  return a;
}

}  // namespace hn
