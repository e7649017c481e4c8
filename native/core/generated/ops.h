// Written by `npm run gen`; do not edit.
#pragma once

#include "core/op_call.h"
#include "core/generated/attention.h"
#include "core/generated/bias.h"
#include "core/generated/concat.h"
#include "core/generated/conv3d.h"
#include "core/generated/copy.h"
#include "core/generated/fill.h"
#include "core/generated/layout.h"
#include "core/generated/linear.h"
#include "core/generated/loss.h"
#include "core/generated/norm.h"
#include "core/generated/optim.h"
#include "core/generated/pointwise.h"
#include "core/generated/pool.h"
#include "core/generated/random.h"
#include "core/generated/reduce.h"
#include "core/generated/resample.h"
#include "core/generated/rope.h"
#include "core/generated/unary.h"

namespace hn {

constexpr uint32_t kOpCount = 61;
constexpr uint64_t kOpsHash = 7241918047169027678ull;
constexpr const char* kOpNames[] = {
    "adamw_step",
    "arange",
    "argmax",
    "attention",
    "attention_backward",
    "avg_pool3d",
    "avg_pool3d_backward",
    "bias_backward",
    "binary",
    "binary_backward",
    "compare",
    "concat",
    "conv3d",
    "conv3d_backward_input",
    "conv3d_backward_weight",
    "copy",
    "cross_entropy",
    "cross_entropy_backward",
    "distance",
    "distance_backward",
    "ema_step",
    "fill",
    "gate_residual",
    "gate_residual_backward",
    "gather",
    "gather_backward",
    "global_norm",
    "group_norm",
    "group_norm_backward",
    "layer_norm",
    "layer_norm_backward",
    "linear",
    "linear_backward_input",
    "linear_backward_weight",
    "matmul",
    "max_pool3d",
    "max_pool3d_backward",
    "pad",
    "pad_backward",
    "philox",
    "qk_norm_rope",
    "qk_norm_rope_backward",
    "reduce",
    "reduce_backward",
    "resize_bilinear",
    "resize_bilinear_backward",
    "rms_norm",
    "rms_norm_backward",
    "rope",
    "rope_table",
    "scale_in_place",
    "softmax",
    "softmax_backward",
    "torch_random",
    "unary",
    "unary_backward",
    "upsample_nearest",
    "upsample_nearest_backward",
    "variance",
    "variance_backward",
    "where",
};
/// What a record of each op must hold: t a tensor, ? one or none, l a list; after the bar n a number, N a list of them.
constexpr const char* kOpSignatures[] = {
    "lllll?|nnnnnnN",  // adamw_step
    "?|nnnn",  // arange
    "t?|NN",  // argmax
    "ttt?????|nnnn",  // attention
    "ttt???tt?????|nnnnnn",  // attention_backward
    "t?|NNNn",  // avg_pool3d
    "t?|NNNnN",  // avg_pool3d_backward
    "t?|",  // bias_backward
    "???|nn",  // binary
    "t????|nnnn",  // binary_backward
    "???|nn",  // compare
    "l?|nnN",  // concat
    "tt??|NNNn",  // conv3d
    "tt?|NNNnN",  // conv3d_backward_input
    "tt?|NNNnN",  // conv3d_backward_weight
    "t?|nN",  // copy
    "tt??|n",  // cross_entropy
    "tttt?|n",  // cross_entropy_backward
    "tt?|n",  // distance
    "ttt?|n",  // distance_backward
    "ll|n",  // ema_step
    "?|nnN",  // fill
    "ttt?|",  // gate_residual
    "t?t??|n",  // gate_residual_backward
    "tt?|n",  // gather
    "tt?|nN",  // gather_backward
    "l?|",  // global_norm
    "t???|nnn",  // group_norm
    "tt?????|nnnnnn",  // group_norm_backward
    "t?????|n",  // layer_norm
    "tt????????|nnnnnn",  // layer_norm_backward
    "tt?????|n",  // linear
    "tt??|n",  // linear_backward_input
    "tt??|",  // linear_backward_weight
    "tt?|nnn",  // matmul
    "t?|NNN",  // max_pool3d
    "tt?|NNN",  // max_pool3d_backward
    "t?|nNN",  // pad
    "t?|NNN",  // pad_backward
    "?|nnnnnN",  // philox
    "tttt????|n",  // qk_norm_rope
    "????tt??????|nnnnn",  // qk_norm_rope_backward
    "t?|nNN",  // reduce
    "t???|nNN",  // reduce_backward
    "t?|nnnn",  // resize_bilinear
    "t?|nnnn",  // resize_bilinear_backward
    "t??|n",  // rms_norm
    "tt???|nn",  // rms_norm_backward
    "ttt?|nn",  // rope
    "??|NNnnn",  // rope_table
    "l?|n",  // scale_in_place
    "t?|n",  // softmax
    "tt?|n",  // softmax_backward
    "?|nnnnnN",  // torch_random
    "t?|nnnn",  // unary
    "tt?|nnnn",  // unary_backward
    "t?|Nn",  // upsample_nearest
    "t?|NnN",  // upsample_nearest_backward
    "t??|nNN",  // variance
    "ttt?|n",  // variance_backward
    "t???|n",  // where
};

}  // namespace hn

/// X(op name, argument struct), in the order of the ids.
#define HN_FOR_EACH_OP(X) \
  X(adamw_step, AdamwStepArgs) \
  X(arange, ArangeArgs) \
  X(argmax, ArgmaxArgs) \
  X(attention, AttentionArgs) \
  X(attention_backward, AttentionBackwardArgs) \
  X(avg_pool3d, AvgPool3dArgs) \
  X(avg_pool3d_backward, AvgPool3dBackwardArgs) \
  X(bias_backward, BiasBackwardArgs) \
  X(binary, BinaryArgs) \
  X(binary_backward, BinaryBackwardArgs) \
  X(compare, CompareArgs) \
  X(concat, ConcatArgs) \
  X(conv3d, Conv3dArgs) \
  X(conv3d_backward_input, Conv3dBackwardInputArgs) \
  X(conv3d_backward_weight, Conv3dBackwardWeightArgs) \
  X(copy, CopyArgs) \
  X(cross_entropy, CrossEntropyArgs) \
  X(cross_entropy_backward, CrossEntropyBackwardArgs) \
  X(distance, DistanceArgs) \
  X(distance_backward, DistanceBackwardArgs) \
  X(ema_step, EmaStepArgs) \
  X(fill, FillArgs) \
  X(gate_residual, GateResidualArgs) \
  X(gate_residual_backward, GateResidualBackwardArgs) \
  X(gather, GatherArgs) \
  X(gather_backward, GatherBackwardArgs) \
  X(global_norm, GlobalNormArgs) \
  X(group_norm, GroupNormArgs) \
  X(group_norm_backward, GroupNormBackwardArgs) \
  X(layer_norm, LayerNormArgs) \
  X(layer_norm_backward, LayerNormBackwardArgs) \
  X(linear, LinearArgs) \
  X(linear_backward_input, LinearBackwardInputArgs) \
  X(linear_backward_weight, LinearBackwardWeightArgs) \
  X(matmul, MatmulArgs) \
  X(max_pool3d, MaxPool3dArgs) \
  X(max_pool3d_backward, MaxPool3dBackwardArgs) \
  X(pad, PadArgs) \
  X(pad_backward, PadBackwardArgs) \
  X(philox, PhiloxArgs) \
  X(qk_norm_rope, QkNormRopeArgs) \
  X(qk_norm_rope_backward, QkNormRopeBackwardArgs) \
  X(reduce, ReduceArgs) \
  X(reduce_backward, ReduceBackwardArgs) \
  X(resize_bilinear, ResizeBilinearArgs) \
  X(resize_bilinear_backward, ResizeBilinearBackwardArgs) \
  X(rms_norm, RmsNormArgs) \
  X(rms_norm_backward, RmsNormBackwardArgs) \
  X(rope, RopeArgs) \
  X(rope_table, RopeTableArgs) \
  X(scale_in_place, ScaleInPlaceArgs) \
  X(softmax, SoftmaxArgs) \
  X(softmax_backward, SoftmaxBackwardArgs) \
  X(torch_random, TorchRandomArgs) \
  X(unary, UnaryArgs) \
  X(unary_backward, UnaryBackwardArgs) \
  X(upsample_nearest, UpsampleNearestArgs) \
  X(upsample_nearest_backward, UpsampleNearestBackwardArgs) \
  X(variance, VarianceArgs) \
  X(variance_backward, VarianceBackwardArgs) \
  X(where, WhereArgs)
