/**
 * The autoencoder without a device: the same steps as in convolution.ts, blocks.ts, encoder.ts and decoder.ts when no
 * gradient is recorded, with bytes in place of tensors. A tensor goes when the last op that reads it has run.
 *
 * Whoever changes a step there changes it here; a test holds the two against each other.
 */
import { blockStride, type Stride, type VaeConfig } from "./config.js";
import { attentionWorkspace, type ConvolutionSize, convolutionWorkspace } from "./kernel-workspace.js";
import { type Block, Ledger } from "./ledger.js";
import type { Direction } from "./tiling.js";

/** Elements of a clip: [B, T, H, W, C]. */
export interface ClipShape {
  readonly b: number;
  readonly t: number;
  readonly h: number;
  readonly w: number;
  readonly c: number;
}

interface Clip extends ClipShape {
  readonly block: Block;
}

/** What one pass needs besides its input and the parameters. */
export interface PassCost {
  /** Bytes, the result among them. */
  readonly peak: number;
  readonly flops: number;
  readonly output: ClipShape;
}

const wideBytes = 4;
const volume = ({ b, t, h, w }: ClipShape) => b * t * h * w;

/** What encoder or decoder needs for one tile of that size, in elements of `bytes` bytes. */
export function rehearse(config: VaeConfig, direction: Direction, input: ClipShape, bytes: number): PassCost {
  const stage = new Stage(config, bytes);
  const { b, t, h, w, c } = direction === "decode" ? stage.decoder(input) : stage.encoder(input);
  return { peak: stage.ledger.peak, flops: stage.ledger.flops, output: { b, t, h, w, c } };
}

class Stage {
  readonly ledger = new Ledger();
  readonly #config: VaeConfig;
  readonly #bytes: number;

  constructor(config: VaeConfig, bytes: number) {
    this.#config = config;
    this.#bytes = bytes;
  }

  encoder(video: ClipShape): ClipShape {
    const { blockChannels, layersPerBlock, latentChannels } = this.#config;
    const [first = 0] = blockChannels;
    let x = this.#conv(video, first);
    blockChannels.forEach((channels, i) => {
      for (let j = 0; j < layersPerBlock; j++) x = this.#resnet(x, channels);
      const stride = blockStride(this.#config, i);
      if (stride !== undefined) x = this.#replaced(x, this.#conv(x, channels, { stride }));
    });
    x = this.#midBlock(x);
    x = this.#replaced(x, this.#conv(x, 2 * latentChannels));
    return this.#replaced(x, this.#conv(x, 2 * latentChannels, { k: 1 }));
  }

  decoder(z: ClipShape): ClipShape {
    const { layersPerBlock, outChannels } = this.#config;
    const widths = [...this.#config.blockChannels].reverse();
    let x = this.#conv(z, z.c, { k: 1 });
    x = this.#replaced(x, this.#conv(x, widths[0] ?? 0));
    x = this.#midBlock(x);
    widths.forEach((channels, i) => {
      for (let j = 0; j <= layersPerBlock; j++) x = this.#resnet(x, channels);
      const factors = blockStride(this.#config, i);
      if (factors !== undefined) x = this.#replaced(x, this.#upsampled(x, factors));
    });
    // The norm before it is written over x.
    return this.#replaced(x, this.#conv(x, outChannels));
  }

  #clip(shape: ClipShape): Clip {
    return { ...shape, block: this.ledger.take(volume(shape) * shape.c * this.#bytes) };
  }

  #replaced(old: Clip, made: Clip): Clip {
    this.ledger.give(old.block);
    return made;
  }

  #conv(x: ClipShape, c: number, { k = 3, stride = [1, 1, 1] }: { k?: 1 | 3; stride?: Stride } = {}): Clip {
    const [st, sh, sw] = stride;
    const y = { b: x.b, t: Math.ceil(x.t / st), h: Math.ceil(x.h / sh), w: Math.ceil(x.w / sw), c };
    const single = x.t === 1 && k === 3;
    const taps = single ? k ** 2 : k ** 3;
    const folded = single ? this.#folded(x.c * c, [{ from: 27, to: 9 }]) : undefined;
    this.ledger.flops += 2 * volume(y) * taps * x.c * c;
    const made = this.#clip(y);
    this.#borrowForConv(y, { inner: x.c, taps, side: k, stride: sh });
    if (folded !== undefined) this.ledger.give(folded);
    return made;
  }

  /** `y` is one call's result. */
  #borrowForConv(y: ClipShape, conv: Pick<ConvolutionSize, "inner" | "taps" | "side" | "stride">): void {
    const size = { ...conv, out: y.c, frames: y.b * y.t, height: y.h, width: y.w };
    this.ledger.borrow(convolutionWorkspace(size));
  }

  /**
   * Weights of `pairs` channel pairs with fewer taps, by folds of one axis after another. Each reads taps and makes
   * fewer of them; the wide copy of narrow weights is there until the first has read it.
   */
  #folded(pairs: number, folds: readonly { readonly from: number; readonly to: number }[]): Block {
    const narrow = this.#bytes < wideBytes;
    const size = (taps: number) => taps * pairs * (narrow ? wideBytes : this.#bytes);
    let source: Block | undefined = narrow ? this.ledger.take(size(folds[0]?.from ?? 0)) : undefined;
    for (const { from, to } of folds) {
      const sum = this.ledger.take(size(from / 3));
      const made = this.ledger.take(size(to));
      this.ledger.give(sum);
      if (source !== undefined) this.ledger.give(source);
      source = made;
    }
    if (source === undefined || !narrow) return source ?? this.ledger.take(0);
    const result = this.ledger.take((folds.at(-1)?.to ?? 0) * pairs * this.#bytes);
    this.ledger.give(source);
    return result;
  }

  #upsampled(x: Clip, [ft, fh, fw]: Stride): Clip {
    const { b, t, h, w, c } = x;
    const y = this.#clip({ b, t: 1 + (t - 1) * ft, h: h * fh, w: w * fw, c });
    const narrow = this.#bytes < wideBytes;
    const pairs = c * c * (narrow ? wideBytes : this.#bytes);
    // Weights with fewer taps along time, then rows, then columns; each fold needs a third of what it reads besides.
    const timeTaps = t === 1 ? 1 : ft === 2 ? 2 : 3;
    const phases = t === 1 || ft === 1 ? 1 : 2;
    const wide = narrow ? this.ledger.take(27 * pairs) : undefined;
    for (let phase = 0; phase < phases; phase++) {
      if (timeTaps < 3) this.ledger.borrow((9 + 9 * timeTaps) * pairs);
      const time = this.ledger.take(timeTaps < 3 ? 9 * timeTaps * pairs : 0);
      this.ledger.borrow((3 + 6) * timeTaps * pairs);
      const row = this.ledger.take(6 * timeTaps * pairs);
      this.ledger.borrow((2 + 4) * timeTaps * pairs);
      const column = this.ledger.take(4 * timeTaps * pairs);
      const narrowed = this.ledger.take(narrow ? (4 * timeTaps * pairs * this.#bytes) / wideBytes : 0);
      this.#borrowForConv({ ...x, t, c }, { inner: c, taps: 4 * timeTaps, side: 2, stride: 1 });
      this.ledger.give(narrowed);
      this.ledger.give(time, row, column);
    }
    if (wide !== undefined) this.ledger.give(wide);
    this.ledger.flops += 2 * volume(y) * 4 * timeTaps * c * c;
    return y;
  }

  #resnet(x: Clip, c: number): Clip {
    const residual = x.c === c ? x : this.#conv(x, c, { k: 1 });
    // Written over x where x is not needed any more.
    let h = x.c === c ? this.#clip(x) : x;
    h = this.#replaced(h, this.#conv(h, c));
    h = this.#replaced(h, this.#conv(h, c));
    const y = this.#clip(h);
    this.ledger.give(h.block, residual.block);
    return y;
  }

  #midBlock(x: Clip): Clip {
    let y = this.#resnet(x, x.c);
    if (this.#config.midAttention) y = this.#attention(y);
    return this.#resnet(y, x.c);
  }

  #attention(x: Clip): Clip {
    const normed = this.#clip(x);
    const [q, k, v] = [this.#clip(x), this.#clip(x), this.#clip(x)];
    this.ledger.give(normed.block);
    const o = this.#clip(x);
    this.ledger.borrow(attentionWorkspace(volume(x), x.c));
    this.ledger.give(q.block, k.block, v.block);
    const y = this.#clip(x);
    this.ledger.give(o.block, x.block);
    const tokens = volume(x) / x.b;
    // Four projections; scores and their product with v, of which the frames to come are half.
    this.ledger.flops += x.b * (8 * tokens * x.c ** 2 + (2 * tokens * tokens * x.c * (x.t + 1)) / x.t);
    return y;
  }
}
