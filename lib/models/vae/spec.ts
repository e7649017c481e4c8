/** The autoencoder's parameters: names and shapes of the released checkpoint; diffusers uses the same names. */
import type { ParameterSpec } from "../../nn/spec.js";
import { blockStride, type VaeConfig } from "./config.js";

/** A convolution of one kernel size along all axes: `weight` [out, in, k, k, k] and `bias` [out]. */
const conv = (name: string, out: number, inner: number, k: 1 | 3): readonly ParameterSpec[] => [
  { name: `${name}.weight`, shape: [out, inner, k, k, k], layout: "channels-last" },
  { name: `${name}.bias`, shape: [out], layout: "same" },
];

/** The same inside a module of its own, which pads. */
const causalConv = (name: string, out: number, inner: number, k: 1 | 3 = 3) => conv(`${name}.conv`, out, inner, k);

const norm = (name: string, size: number): readonly ParameterSpec[] => [
  { name: `${name}.weight`, shape: [size], layout: "same" },
  { name: `${name}.bias`, shape: [size], layout: "same" },
];

const linear = (name: string, size: number): readonly ParameterSpec[] => [
  { name: `${name}.weight`, shape: [size, size], layout: "same" },
  { name: `${name}.bias`, shape: [size], layout: "same" },
];

const resnet = (name: string, out: number, inner: number): readonly ParameterSpec[] => [
  ...norm(`${name}.norm1`, inner),
  ...causalConv(`${name}.conv1`, out, inner),
  ...norm(`${name}.norm2`, out),
  ...causalConv(`${name}.conv2`, out, out),
  ...(out === inner ? [] : causalConv(`${name}.conv_shortcut`, out, inner, 1)),
];

function midBlock(name: string, size: number, attention: boolean): readonly ParameterSpec[] {
  const attn = `${name}.attentions.0`;
  const attentionSpec = [
    ...norm(`${attn}.group_norm`, size),
    ...["to_q", "to_k", "to_v", "to_out.0"].flatMap((part) => linear(`${attn}.${part}`, size)),
  ];
  return [
    ...resnet(`${name}.resnets.0`, size, size),
    ...(attention ? attentionSpec : []),
    ...resnet(`${name}.resnets.1`, size, size),
  ];
}

const repeated = (count: number, spec: (i: number) => readonly ParameterSpec[]): readonly ParameterSpec[] =>
  Array.from({ length: count }, (_, i) => spec(i)).flat();

function encoder(config: VaeConfig): readonly ParameterSpec[] {
  const { blockChannels, inChannels, latentChannels, layersPerBlock, midAttention } = config;
  const [first = 0] = blockChannels;
  const widest = blockChannels.at(-1) ?? 0;
  return [
    ...causalConv("encoder.conv_in", first, inChannels),
    ...repeated(blockChannels.length, (i) => {
      const name = `encoder.down_blocks.${i}`;
      const out = blockChannels[i] ?? 0;
      const inner = blockChannels[i - 1] ?? first;
      return [
        ...repeated(layersPerBlock, (j) => resnet(`${name}.resnets.${j}`, out, j === 0 ? inner : out)),
        ...(blockStride(config, i) === undefined ? [] : causalConv(`${name}.downsamplers.0.conv`, out, out)),
      ];
    }),
    ...midBlock("encoder.mid_block", widest, midAttention),
    ...norm("encoder.conv_norm_out", widest),
    ...causalConv("encoder.conv_out", 2 * latentChannels, widest),
  ];
}

function decoder(config: VaeConfig): readonly ParameterSpec[] {
  const { outChannels, latentChannels, layersPerBlock, midAttention } = config;
  const widths = [...config.blockChannels].reverse();
  const [widest = 0] = widths;
  const last = widths.at(-1) ?? 0;
  return [
    ...causalConv("decoder.conv_in", widest, latentChannels),
    ...midBlock("decoder.mid_block", widest, midAttention),
    ...repeated(widths.length, (i) => {
      const name = `decoder.up_blocks.${i}`;
      const out = widths[i] ?? 0;
      const inner = widths[i - 1] ?? widest;
      return [
        ...repeated(layersPerBlock + 1, (j) => resnet(`${name}.resnets.${j}`, out, j === 0 ? inner : out)),
        ...(blockStride(config, i) === undefined ? [] : causalConv(`${name}.upsamplers.0.conv`, out, out)),
      ];
    }),
    ...norm("decoder.conv_norm_out", last),
    ...causalConv("decoder.conv_out", outChannels, last),
  ];
}

/** What is read to encode, to decode, or for both. */
export type VaePart = "encoder" | "decoder" | "both";

/**
 * Every parameter of an autoencoder under the released names; of one half when only that is to be loaded.
 *
 * @example vaeSpec(vaePresets["884-16c-hy"], "decoder")
 */
export function vaeSpec(config: VaeConfig, part: VaePart = "both"): ParameterSpec[] {
  const { latentChannels: c } = config;
  return [
    ...(part === "decoder" ? [] : [...encoder(config), ...conv("quant_conv", 2 * c, 2 * c, 1)]),
    ...(part === "encoder" ? [] : [...decoder(config), ...conv("post_quant_conv", c, c, 1)]),
  ];
}
