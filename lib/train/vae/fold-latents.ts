/**
 * Latents of mean 0 and variance 1 in every channel: their statistics are folded into the two 1 × 1 × 1 convolutions
 * between encoder and decoder, which changes no reconstruction and nothing of the architecture. Diffusion wants such
 * latents, and the transformer's scaling factor is one number for all channels.
 */
import { noGrad } from "../../autograd/backward.js";
import type { VaeConfig } from "../../models/vae/config.js";
import { CausalVae } from "../../models/vae/model.js";
import type { Params } from "../../nn/params.js";
import { concat } from "../../ops/concat.js";
import { cast, copyInto } from "../../ops/copy.js";
import { matmul } from "../../ops/linear.js";
import { add, mul, sub } from "../../ops/pointwise.js";
import { mean } from "../../ops/reduce.js";
import { exp, square } from "../../ops/unary.js";
import { reshape } from "../../ops/views.js";
import { HunyuanError } from "../../runtime/errors.js";
import type { DType, FloatDType } from "../../tensor/dtype.js";
import { tensor } from "../../tensor/host.js";
import { scope } from "../../tensor/scope.js";
import type { Tensor } from "../../tensor/tensor.js";
import { frozenParams } from "./frozen.js";

/** Of each latent channel over places, frames and clips; of latents as they are drawn, their noise included. */
export interface LatentStatistics {
  readonly mean: readonly number[];
  /** Standard deviation. */
  readonly deviation: readonly number[];
}

/** A channel that says nothing is not blown up to variance 1. */
const leastDeviation = 1e-4;

/**
 * Statistics of the latents of clips.
 *
 * @param clips batches [B, T, H, W, 3], values in −1 … 1; each is disposed of when it has been encoded
 * @throws INVALID_ARGUMENT when there are no clips
 */
export async function latentStatistics(
  vae: CausalVae,
  clips: Iterable<Tensor<FloatDType>> | AsyncIterable<Tensor<FloatDType>>,
): Promise<LatentStatistics> {
  using still = new CausalVae(vae.config, frozenParams(vae.params));
  const channels = vae.config.latentChannels;
  const sums = { count: 0, first: new Array<number>(channels).fill(0), second: new Array<number>(channels).fill(0) };
  for await (const clip of clips) {
    const [a, b, places] = await channelMoments(still, clip).finally(() => clip.dispose());
    sums.count += places;
    for (let c = 0; c < channels; c++) {
      sums.first[c] = (sums.first[c] as number) + places * (a[c] as number);
      sums.second[c] = (sums.second[c] as number) + places * (b[c] as number);
    }
  }
  if (sums.count === 0) {
    throw new HunyuanError("INVALID_ARGUMENT", "latentStatistics: there are no clips", { op: "latentStatistics" });
  }
  const average = sums.first.map((sum) => sum / sums.count);
  const deviation = sums.second.map((sum, c) => Math.sqrt(Math.max(0, sum / sums.count - (average[c] as number) ** 2)));
  return { mean: average, deviation };
}

/** Means of the latents and of their squares, for each channel, and how many of each there are. */
async function channelMoments(vae: CausalVae, clip: Tensor<FloatDType>) {
  const { first, second, places } = scope(() => {
    const posterior = vae.encode(clip);
    const [m, l] = [cast(posterior.mean, "f64"), cast(posterior.logvar, "f64")];
    const axes = [0, 1, 2, 3];
    const all = { places: m.size / vae.config.latentChannels };
    return { ...all, first: mean(m, { axes }), second: mean(add(square(m), exp(l)), { axes }) };
  });
  try {
    return [await first.read(), await second.read(), places] as const;
  } finally {
    first.dispose();
    second.dispose();
  }
}

export interface FoldOptions {
  /**
   * What the latents' standard deviation becomes. Default 1. The scaling factor of the folded model is 1 over it, so that
   * the transformer sees variance 1 whatever this is: 1 / 0.476986 gives a model that tools with the released model's
   * factor built in understand.
   */
  readonly deviation?: number;
}

/**
 * Folds statistics into `quant_conv` and `post_quant_conv`, in place: latents z become (z − mean) / deviation, and the
 * decoder takes that back first. Exact but for rounding; noise of the posterior included.
 *
 * To be done once training is over: an optimizer's momentum and masters know nothing of it.
 *
 * @returns the configuration of the model from then on, which has another scaling factor
 * @throws INVALID_ARGUMENT for statistics of another number of channels
 * @example
 * const config = foldLatents(vae.config, vae.params, await latentStatistics(vae, clips()));
 */
export function foldLatents(
  config: VaeConfig,
  params: Params,
  statistics: LatentStatistics,
  { deviation: wanted = 1 }: FoldOptions = {},
): VaeConfig {
  const { latentChannels: channels } = config;
  const { mean: average, deviation } = statistics;
  if (average.length !== channels || deviation.length !== channels || !(wanted > 0)) {
    const seen = `${average.length} means, ${deviation.length} deviations, to become ${wanted}`;
    const message = `foldLatents: got ${seen}; expected ${channels} of each, and a number > 0`;
    throw new HunyuanError("INVALID_ARGUMENT", message, { op: "foldLatents", argument: "statistics" });
  }
  const factors = deviation.map((one) => wanted / Math.max(one, leastDeviation));
  const { device } = params.get("quant_conv.weight");
  noGrad(() =>
    scope(() => {
      const row = (values: readonly number[]) => tensor([...values], { dtype: "f64", device });
      const [factor, middle] = [row(factors), row(average)];
      const unit = row(factors.map(() => 1));
      const quant = wide(params, "quant_conv", 2 * channels);
      const post = wide(params, "post_quant_conv", channels);
      // Rows of the mean are scaled; the logarithm of the variance is shifted by twice that of the factor.
      const rows = concat([factor, unit]);
      const shift = row(factors.map((one) => 2 * Math.log(one)));
      write(params, "quant_conv.weight", mul(quant.weight, reshape(rows, [2 * channels, 1])));
      const nothing = row(factors.map(() => 0));
      const bias = add(mul(sub(quant.bias, concat([middle, nothing])), rows), concat([nothing, shift]));
      write(params, "quant_conv.bias", bias);
      write(params, "post_quant_conv.bias", add(post.bias, columnSums(post.weight, middle)));
      write(params, "post_quant_conv.weight", mul(post.weight, row(factors.map((one) => 1 / one))));
    }),
  );
  return { ...config, scalingFactor: 1 / wanted };
}

/** Weight as a matrix and bias, in f64. */
function wide(params: Params, name: string, size: number): { weight: Tensor<"f64">; bias: Tensor<"f64"> } {
  const weight = reshape(params.get(`${name}.weight`), [size, size]);
  return { weight: cast(weight, "f64"), bias: cast(params.get(`${name}.bias`), "f64") };
}

/** weight · vector */
function columnSums(weight: Tensor<"f64">, vector: Tensor<"f64">): Tensor<"f64"> {
  return reshape(matmul(weight, reshape(vector, [vector.size, 1])), [vector.size]);
}

function write(params: Params, name: string, value: Tensor<"f64">): void {
  const held = params.get<DType>(name);
  copyInto(reshape(cast(value, held.dtype), held.shape), held);
}
