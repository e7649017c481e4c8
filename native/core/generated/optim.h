// Written by `npm run gen`; do not edit.
#pragma once

#include "core/op_call.h"

namespace hn {

/// one AdamW step (decoupled weight decay) over many tensors; masterOf[i] is the f32 master of param i, or -1
struct AdamwStepArgs {
  TensorList params;
  TensorList grads;
  TensorList m;
  TensorList v;
  TensorList masters;
  TensorView grad_scale;
  double lr;
  double beta1;
  double beta2;
  double eps;
  double weight_decay;
  int64_t step;
  IntList master_of;
};

/// targets = decay · targets + (1 − decay) · sources, over many tensors
struct EmaStepArgs {
  TensorList targets;
  TensorList sources;
  double decay;
};

/// Euclidean norm of all elements of many tensors, summed in f64 in a fixed order
struct GlobalNormArgs {
  TensorList tensors;
  TensorView y;
};

/// tensors = tensors · factor · scale, over many tensors
struct ScaleInPlaceArgs {
  TensorList tensors;
  TensorView scale;
  double factor;
};

inline AdamwStepArgs decode_adamw_step(const OpCall& call) {
  CallReader in(call);
  AdamwStepArgs a{};
  a.params = in.list();
  a.grads = in.list();
  a.m = in.list();
  a.v = in.list();
  a.masters = in.list();
  a.grad_scale = in.tensor();
  a.lr = in.number();
  a.beta1 = in.number();
  a.beta2 = in.number();
  a.eps = in.number();
  a.weight_decay = in.number();
  a.step = in.integer();
  a.master_of = in.integers();
  return a;
}

inline EmaStepArgs decode_ema_step(const OpCall& call) {
  CallReader in(call);
  EmaStepArgs a{};
  a.targets = in.list();
  a.sources = in.list();
  a.decay = in.number();
  return a;
}

inline GlobalNormArgs decode_global_norm(const OpCall& call) {
  CallReader in(call);
  GlobalNormArgs a{};
  a.tensors = in.list();
  a.y = in.tensor();
  return a;
}

inline ScaleInPlaceArgs decode_scale_in_place(const OpCall& call) {
  CallReader in(call);
  ScaleInPlaceArgs a{};
  a.tensors = in.list();
  a.scale = in.tensor();
  a.factor = in.number();
  return a;
}

}  // namespace hn
