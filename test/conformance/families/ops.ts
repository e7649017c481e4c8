/** Single operations: which, with what stride or factor, stands in the tensors' names; eps and groups in the config's words. */

import { sinusoid } from "../../../lib/models/dit/embed.js";
import {
  add,
  attention,
  conv3d,
  type FloatDType,
  gelu,
  groupNorm,
  layerNorm,
  linear,
  reshape,
  rmsNorm,
  scope,
  silu,
  type Tensor,
  upsampleNearest,
} from "../../../lib/tensor.js";
import type { ConformanceCase } from "../case-file.js";
import {
  channelsFirst,
  channelsLast,
  type Family,
  numberInWords,
  type Outputs,
  type RunOptions,
  upload,
} from "./family.js";

type Values = (name: string) => Tensor<FloatDType>;

interface Given {
  readonly config: { readonly [key: string]: unknown };
  /** In our layout: channels last where there are five axes. */
  readonly input: Values;
  readonly weight: Values;
  /** In f32 whatever the run computes in. */
  readonly exact: (name: string) => Tensor<"f32">;
}

const eps = (config: Given["config"], op: string) => numberInWords(config, op, /(?:eps |\+)([\d.]+(?:e-?\d+)?)/);
const groups = (config: Given["config"]) => numberInWords(config, "group_norm", /(\d+) groups/);

type Make = (given: Given, match: RegExpMatchArray) => Tensor;

const threeDigits = (digits: string) => Array.from(digits, Number) as [number, number, number];

/** By the name of the output: how it is made. */
const makers: readonly (readonly [RegExp, Make])[] = [
  [/^out\.layer_norm$/, ({ input, config }) => layerNorm(input("norm"), { eps: eps(config, "layer_norm") })],
  [
    /^out\.rms_norm$/,
    ({ input, config }) => rmsNorm(input("norm"), input("rms_weight"), { eps: eps(config, "rms_norm") }),
  ],
  [/^out\.gelu_tanh$/, ({ input }) => gelu(input("act"), { approximate: "tanh" })],
  [
    /^out\.timestep_embedding$/,
    // Float32 in the reference too, whatever the run computes in.
    ({ exact }) => sinusoid(exact("t")),
  ],
  [/^out\.silu$/, ({ input }) => silu(input("act"))],
  [
    /^out\.group_norm$/,
    ({ input, config }) => {
      const affine = { weight: input("group_norm_weight"), bias: input("group_norm_bias") };
      return groupNorm(input("group_norm"), { groups: groups(config), eps: eps(config, "group_norm"), ...affine });
    },
  ],
  [
    /^out\.down_([0-9x]+)_stride(\d{3})$/,
    ({ input, weight }, [, size, stride = ""]) =>
      conv3d(input(`video_${size}`), weight("conv.weight"), { bias: weight("conv.bias"), stride: threeDigits(stride) }),
  ],
  [
    /^out\.up_([0-9x]+)_factor(\d{3})$/,
    ({ input, weight }, [, size, factor = ""]) => {
      const grown = upsampleNearest(input(`video_${size}`), threeDigits(factor));
      return conv3d(grown, weight("up.weight"), { bias: weight("up.bias") });
    },
  ],
  [/^out\.attention$/, (given) => causalAttention(given)],
];

/** The autoencoder's middle attention: one head over frames of tokens, residual included. */
function causalAttention({ input, weight, config }: Given): Tensor {
  const x = input("attention");
  const [B = 0, T = 0, H = 0, W = 0, C = 0] = x.shape;
  const norm = { weight: weight("attention.group_norm.weight"), bias: weight("attention.group_norm.bias") };
  const normed = groupNorm(x, { groups: groups(config), eps: eps(config, "group_norm"), ...norm });
  const tokens = reshape(normed, [B, T * H * W, C]);
  const project = (from: Tensor<FloatDType>, name: string) =>
    linear(from, weight(`attention.${name}.weight`), { bias: weight(`attention.${name}.bias`) });
  const heads = (name: string) => reshape(project(tokens, name), [B, T * H * W, 1, C]);
  const o = attention(heads("to_q"), heads("to_k"), heads("to_v"), { frameTokens: H * W });
  return add(reshape(project(reshape(o, [B, T * H * W, C]), "to_out.0"), x.shape), x);
}

function outputs(from: ConformanceCase, { device, dtype }: RunOptions): Outputs {
  const ours = (name: string) => {
    const stored = from.stored.get(name);
    if (stored === undefined) throw new Error(`${from.name}: no tensor ${name}`);
    const uploaded = upload(stored, device, dtype) as Tensor<FloatDType>;
    return stored.shape.length === 5 ? channelsLast(uploaded) : uploaded;
  };
  const given: Given = {
    config: from.about.config,
    input: (name) => ours(`in.${name}`),
    weight: (name) => ours(`w.${name}`),
    exact: (name) => upload(from.input(name), device, "f32"),
  };
  const made: { [name: string]: Tensor } = {};
  for (const name of from.expected) {
    for (const [pattern, make] of makers) {
      const match = name.match(pattern);
      if (match === null) continue;
      made[name] = scope(() => {
        const out = make(given, match);
        return out.rank === 5 ? channelsFirst(out) : out;
      });
    }
  }
  return made;
}

export const ops: Family = {
  name: "ops",
  fits: (from) => from.expected.some((name) => makers.some(([pattern]) => pattern.test(name))),
  outputs,
};
