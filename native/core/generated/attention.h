// Written by `npm run gen`; do not edit.
#pragma once

#include "core/op_call.h"

namespace hn {

/// o = softmax(scale · q kᵀ + keyMask) v in blocks; lse = log Σ exp of the scores
struct AttentionArgs {
  TensorView q;
  TensorView k;
  TensorView v;
  TensorView key_mask;
  TensorView cu_seqlens;
  TensorView cu_seqlens_k;
  TensorView o;
  TensorView lse;
  double scale;
  bool causal;
  int64_t frame_tokens;
  bool want_lse;
};

/// gradients of attention for q, k and v, from probabilities made again out of lse; the same bytes each time
struct AttentionBackwardArgs {
  TensorView q;
  TensorView k;
  TensorView v;
  TensorView key_mask;
  TensorView cu_seqlens;
  TensorView cu_seqlens_k;
  TensorView o;
  TensorView lse;
  TensorView dout;
  TensorView dlse;
  TensorView dq;
  TensorView dk;
  TensorView dv;
  double scale;
  bool causal;
  int64_t frame_tokens;
  bool want_q;
  bool want_k;
  bool want_v;
};

inline AttentionArgs decode_attention(const OpCall& call) {
  CallReader in(call);
  AttentionArgs a{};
  a.q = in.tensor();
  a.k = in.tensor();
  a.v = in.tensor();
  a.key_mask = in.tensor();
  a.cu_seqlens = in.tensor();
  a.cu_seqlens_k = in.tensor();
  a.o = in.tensor();
  a.lse = in.tensor();
  a.scale = in.number();
  a.causal = in.integer() != 0;
  a.frame_tokens = in.integer();
  a.want_lse = in.integer() != 0;
  return a;
}

inline AttentionBackwardArgs decode_attention_backward(const OpCall& call) {
  CallReader in(call);
  AttentionBackwardArgs a{};
  a.q = in.tensor();
  a.k = in.tensor();
  a.v = in.tensor();
  a.key_mask = in.tensor();
  a.cu_seqlens = in.tensor();
  a.cu_seqlens_k = in.tensor();
  a.o = in.tensor();
  a.lse = in.tensor();
  a.dout = in.tensor();
  a.dlse = in.tensor();
  a.dq = in.tensor();
  a.dk = in.tensor();
  a.dv = in.tensor();
  a.scale = in.number();
  a.causal = in.integer() != 0;
  a.frame_tokens = in.integer();
  a.want_q = in.integer() != 0;
  a.want_k = in.integer() != 0;
  a.want_v = in.integer() != 0;
  return a;
}

}  // namespace hn
