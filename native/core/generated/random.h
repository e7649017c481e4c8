// Written by `npm run gen`; do not edit.
#pragma once

#include "core/op_call.h"

namespace hn {

/// uniform [0, 1) or normal numbers; element i from the seed and offset + i (Philox 4x32-10, Box-Muller in pairs)
struct PhiloxArgs {
  enum class Kind : int32_t { uniform, normal };
  enum class Dtype : int32_t { f32, f64, f16, bf16 };
  TensorView y;
  Kind kind;
  int64_t seed_low;
  int64_t seed_high;
  int64_t offset;
  Dtype dtype;
  IntList shape;
};

/// PyTorch's CPU rand and randn (mt19937) after `skip` draws; `kept` is the draw whose pair left a normal over, or -1
struct TorchRandomArgs {
  enum class Kind : int32_t { uniform, normal };
  enum class Dtype : int32_t { f32, f64, f16, bf16 };
  TensorView y;
  Kind kind;
  int64_t seed;
  int64_t skip;
  int64_t kept;
  Dtype dtype;
  IntList shape;
};

inline PhiloxArgs decode_philox(const OpCall& call) {
  CallReader in(call);
  PhiloxArgs a{};
  a.y = in.tensor();
  a.kind = static_cast<PhiloxArgs::Kind>(in.integer());
  a.seed_low = in.integer();
  a.seed_high = in.integer();
  a.offset = in.integer();
  a.dtype = static_cast<PhiloxArgs::Dtype>(in.integer());
  a.shape = in.integers();
  return a;
}

inline TorchRandomArgs decode_torch_random(const OpCall& call) {
  CallReader in(call);
  TorchRandomArgs a{};
  a.y = in.tensor();
  a.kind = static_cast<TorchRandomArgs::Kind>(in.integer());
  a.seed = in.integer();
  a.skip = in.integer();
  a.kept = in.integer();
  a.dtype = static_cast<TorchRandomArgs::Dtype>(in.integer());
  a.shape = in.integers();
  return a;
}

}  // namespace hn
