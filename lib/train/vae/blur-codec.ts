/**
 * Weights that make an autoencoder a blur codec with right colours before it has been trained: it need not find out first
 * what a colour is, and gradients reach every layer through a path that already carries the picture.
 *
 * Inside, channels 0–2 carry the colours, 3–5 their negatives, 6 and 7 a constant and its negative. Layers that shrink
 * start as means of blocks, layers that enlarge as smoothing; residual blocks and attention add nothing, since their last
 * layer is zero. At the two ends of encoder and decoder a norm and SiLU stand in the way: silu(x) − silu(−x) = x lets
 * colours through the SiLU, and the constants, larger than what is beside them, keep what the norm divides by
 * about the same for every clip, so that its weight can undo it.
 */
import { blockStride, type VaeConfig } from "../../models/vae/config.js";
import type { ParameterSpec } from "../../nn/spec.js";
import { HunyuanError } from "../../runtime/errors.js";
import { sizeOf } from "../../tensor/shape.js";

/** Values to start from, in the order in which parameters are saved: random values times `random`, plus `fixed`. */
export interface FixedStart {
  readonly random: Float32Array<ArrayBuffer>;
  readonly fixed: Float32Array<ArrayBuffer>;
}

const colours = 3;
/** Channels of the constant and its negative. */
const constants = [6, 7] as const;
/** Channels that the codec takes. */
const taken = 8;
/**
 * Size of the constants: the larger they are, the steadier what norms divide by, and the truer the colours before training;
 * but then every step on a weight that looks at them shifts all colours.
 */
export const steadyConstant = 16;
/** Mean square of pixels in −1 … 1, roughly. */
const typicalSquare = 0.35;
/** Logarithm of the latents' variance, a small noise. */
const logvar = -6;
/** Latents beyond the colours start this much smaller than random weights would make them. */
const otherLatents = 0.1;

type Taps = readonly [number, number, number];
type Kernel = readonly [t: Taps, h: Taps, w: Taps];

const here: Taps = [0, 1, 0];
const latest: Taps = [0, 0, 1];
/** Of places 2i − 1, 2i and 2i + 1 (frames: 2i − 2 … 2i) the last two: means of whole blocks. */
const pair: Taps = [0, 0.5, 0.5];
/** After every voxel has been repeated: linear interpolation. */
const smooth: Taps = [0.25, 0.5, 0.25];
const identity: Kernel = [latest, here, here];

const isConstant = (channel: number) => channel === constants[0] || channel === constants[1];

export class BlurCodec {
  readonly #config: VaeConfig;
  readonly #constant: number;

  /** @throws INVALID_ARGUMENT for other colours than three, too few latent channels, and groups of less than 8 channels */
  constructor(config: VaeConfig, constant: number = steadyConstant) {
    const { inChannels, outChannels, latentChannels, blockChannels, normGroups } = config;
    const least = Math.min(...blockChannels) / normGroups;
    const problem =
      inChannels !== colours || outChannels !== colours
        ? `has ${inChannels} and ${outChannels} colours, expected 3`
        : latentChannels < colours
          ? `has ${latentChannels} latent channels, expected 3 or more`
          : least < taken
            ? `has groups of ${least} channels, expected ${taken} or more: use fewer normGroups or wider blockChannels`
            : undefined;
    if (problem !== undefined) {
      const message = `initialVae: a blur codec does not fit: the autoencoder ${problem}`;
      throw new HunyuanError("INVALID_ARGUMENT", message, { op: "initialVae", argument: "start" });
    }
    this.#config = config;
    this.#constant = constant;
  }

  /** What of a parameter the codec sets; undefined where it starts as in any other network. */
  fix({ name, shape }: ParameterSpec): FixedStart | undefined {
    const start = { random: new Float32Array(sizeOf(shape)).fill(1), fixed: new Float32Array(sizeOf(shape)) };
    if (this.#fixPart(name, shape, start)) return start;
    return undefined;
  }

  #fixPart(name: string, shape: readonly number[], start: FixedStart): boolean {
    if (/(conv2\.conv|to_out\.0)\.(weight|bias)$/.test(name)) start.random.fill(0);
    else if (/conv_in\.conv\./.test(name)) this.#fixInput(name, shape, start);
    else if (/(norm1|conv_norm_out)\.weight$/.test(name)) this.#fixNorm(start);
    else if (/conv1\.conv\.weight$/.test(name)) withoutConstants(shape, start);
    else if (/conv_shortcut\.conv\./.test(name)) fixShortcut(name, shape, start);
    else if (/samplers\.0\./.test(name)) this.#fixResampling(name, shape, start);
    else if (/conv_out\.conv\./.test(name)) this.#fixOutput(name, shape, start);
    else if (/quant_conv\./.test(name)) fixQuant(name, shape, start);
    else return false;
    return true;
  }

  /** Colours, negatives and constants from pixels or from latents; the other channels stay random. */
  #fixInput(name: string, shape: readonly number[], { random, fixed }: FixedStart): void {
    const row = sizeOf(shape.slice(1));
    random.fill(0, 0, taken * row);
    if (name.endsWith("bias")) {
      fixed.set([this.#constant, -this.#constant], constants[0]);
      return;
    }
    for (let c = 0; c < colours; c++) {
      setTaps(fixed, shape, c, c, identity, 1);
      setTaps(fixed, shape, c + colours, c, identity, -1);
    }
  }

  /** Gives back the scale that the norm of the first group takes away. */
  #fixNorm({ random, fixed }: FixedStart): void {
    const group = random.length / this.#config.normGroups;
    const deviation = Math.sqrt((2 * this.#constant ** 2 + 2 * colours * typicalSquare) / group);
    for (let c = 0; c < group; c++) {
      if (isConstant(c)) continue;
      random[c] = 0;
      fixed[c] = deviation;
    }
  }

  #fixResampling(name: string, shape: readonly number[], { random, fixed }: FixedStart): void {
    random.fill(0);
    if (name.endsWith("bias")) return;
    const [t, h, w] = blockStride(this.#config, Number(/blocks\.(\d+)\./.exec(name)?.[1])) ?? [1, 1, 1];
    const shrinks = name.startsWith("encoder");
    const along = (stride: 1 | 2) => (stride === 1 ? here : shrinks ? pair : smooth);
    // A frame that was repeated in time stays as it is: taps on earlier ones would leave ghosts of what moves.
    const kernel: Kernel = [t === 2 && shrinks ? pair : latest, along(h), along(w)];
    for (let c = 0; c < (shape[0] as number); c++) setTaps(fixed, shape, c, c, kernel, 1);
  }

  /** The last layer of encoder or decoder: colours from both their channels. */
  #fixOutput(name: string, shape: readonly number[], start: FixedStart): void {
    const { random, fixed } = start;
    const encodes = name.startsWith("encoder");
    const { latentChannels } = this.#config;
    if (name.endsWith("bias")) {
      random.fill(0);
      if (encodes) fixed.fill(logvar, latentChannels);
      return;
    }
    const row = sizeOf(shape.slice(1));
    random.fill(0, 0, colours * row);
    if (encodes) {
      random.fill(otherLatents, colours * row, latentChannels * row);
      random.fill(0, latentChannels * row);
      withoutConstants(shape, start);
    }
    for (let c = 0; c < colours; c++) {
      setTaps(fixed, shape, c, c, identity, 1);
      setTaps(fixed, shape, c, c + colours, identity, -1);
    }
  }
}

/** The first channels as they are; what is new starts random, from all but the constants. */
function fixShortcut(name: string, shape: readonly number[], start: FixedStart): void {
  const [out = 0, inner = 0] = shape;
  const { random, fixed } = start;
  if (name.endsWith("bias")) {
    // The channels that are handed on must not be moved; for the new ones nothing depends on it.
    random.fill(0);
    return;
  }
  withoutConstants(shape, start);
  for (let o = 0; o < Math.min(out, inner); o++) {
    random.fill(0, o * inner, (o + 1) * inner);
    fixed[o * inner + o] = 1;
  }
}

/** 1 × 1 × 1, the identity. */
function fixQuant(name: string, shape: readonly number[], { random, fixed }: FixedStart): void {
  const [out = 0, inner = 0] = shape;
  random.fill(0);
  if (name.endsWith("bias")) return;
  for (let o = 0; o < out; o++) fixed[o * inner + o] = 1;
}

/** No random weight looks at the constants: their size would drown everything else. */
function withoutConstants([out = 0, inner = 0, ...kernel]: readonly number[], { random }: FixedStart): void {
  const taps = sizeOf(kernel);
  for (let o = 0; o < out; o++) {
    for (const c of constants) random.fill(0, (o * inner + c) * taps, (o * inner + c + 1) * taps);
  }
}

/** Sets the kernel from one channel to another, [O, I, 3, 3, 3]. */
function setTaps(
  fixed: Float32Array,
  [, inner = 0]: readonly number[],
  out: number,
  from: number,
  [t, h, w]: Kernel,
  factor: number,
): void {
  let at = (out * inner + from) * 27;
  for (const a of t) for (const b of h) for (const c of w) fixed[at++] = factor * a * b * c;
}
