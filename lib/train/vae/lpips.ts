/**
 * LPIPS, the distance of pictures as people see it: features of an image classifier, compared. The weights come from
 * files; the package has none.
 *
 * Letters: B batch, T frames, H height, W width, C channels; clips are [B, T, H, W, C].
 *
 * Source: Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (arXiv 1801.03924), §3,
 * version 0.1 of its weights.
 */
import { noGrad } from "../../autograd/backward.js";
import { openCheckpoint } from "../../io/checkpoint.js";
import type { Checkpoint } from "../../io/tensor-file.js";
import { loadParams } from "../../nn/load.js";
import type { Params } from "../../nn/params.js";
import type { Naming, ParameterSpec } from "../../nn/spec.js";
import { add, div, mul, sub } from "../../ops/pointwise.js";
import { mean, norm, sum } from "../../ops/reduce.js";
import { square } from "../../ops/unary.js";
import { reshape } from "../../ops/views.js";
import type { Device } from "../../runtime/device.js";
import { HunyuanError } from "../../runtime/errors.js";
import { tensor } from "../../tensor/host.js";
import { scope } from "../../tensor/scope.js";
import { sameShape, showShape } from "../../tensor/shape.js";
import type { Tensor } from "../../tensor/tensor.js";
import type { LossDType } from "./losses.js";
import { type FeatureNetwork, featureNetworks, featureSpec, featuresOf, layersOf } from "./lpips-network.js";

/** What the classifiers were trained on, in the range −1 … 1. */
const colours = { mean: [-0.03, -0.088, -0.188], deviation: [0.458, 0.448, 0.45] } as const;
const eps = 1e-10;

/** The distance over its weights. */
export class Lpips implements Disposable {
  readonly network: keyof typeof featureNetworks;
  readonly #features: Params;
  /** One weight for each channel of each stage. */
  readonly #channels: Params;

  /** @internal Tests and {@link loadLpips}. */
  constructor(network: keyof typeof featureNetworks, features: Params, channels: Params) {
    this.network = network;
    this.#features = features;
    this.#channels = channels;
  }

  /**
   * The mean distance of the frames of two clips. Gradients flow to the first.
   *
   * @param clip, target [B, T, H, W, 3], values in −1 … 1, at least 16 pixels high and wide (AlexNet: 31)
   * @throws SHAPE_MISMATCH
   */
  distance<D extends LossDType>(clip: Tensor<D>, target: Tensor<D>): Tensor<D> {
    const network = featureNetworks[this.network];
    checkClips(network, clip, target);
    return scope(() => {
      const seen = this.#unitFeatures(network, clip);
      const wanted = noGrad(() => this.#unitFeatures(network, target));
      const parts = seen.map((features, i) => {
        const weight = this.#channels.get<D>(`${i}.weight`);
        // A 1 × 1 convolution to one channel, then the mean over places.
        return mean(sum(mul(square(sub(features, wanted[i] as Tensor<D>)), weight), { axes: -1 }) as Tensor<D>);
      });
      return parts.reduce((total, part) => add(total, part));
    });
  }

  #unitFeatures<D extends LossDType>(network: FeatureNetwork, clip: Tensor<D>): readonly Tensor<D>[] {
    const [b = 0, t = 0, h = 0, w = 0, c = 0] = clip.shape;
    const { device, dtype } = clip;
    const row = (values: readonly number[]) => tensor([...values], { dtype, device });
    return scope(() => {
      const images = reshape(clip, [b * t, h, w, c]);
      const normalised = div(sub(images, row(colours.mean)), row(colours.deviation));
      const features = featuresOf(network, this.#features, normalised);
      return features.map((x) => div(x, add(norm(x, { axes: -1, keepDims: true }), eps)));
    });
  }

  dispose(): void {
    this.#features.dispose();
    this.#channels.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function checkClips({ leastSize }: FeatureNetwork, clip: Tensor, target: Tensor): void {
  const [, , h = 0, w = 0, c] = clip.shape;
  const fits = clip.rank === 5 && c === 3 && h >= leastSize && w >= leastSize && sameShape(clip.shape, target.shape);
  if (fits) return;
  const message =
    `lpips: clip is ${showShape(clip.shape)} and target ${showShape(target.shape)}, expected two of the same shape ` +
    `[B, T, H, W, 3], ${leastSize} pixels or more high and wide: use larger crops or no perceptual loss`;
  throw new HunyuanError("SHAPE_MISMATCH", message, { op: "lpips", shapes: [clip.shape, target.shape] });
}

/** Names of the classifier's weights: LPIPS's own file, or torchvision's. */
const featurePrefix = /^(?:.*\.)?(?:net\.slice\d+|features)\.$/;
/** Names of the channel weights. */
const channelKey = (stage: number) => new RegExp(`^(?:.*\\.)?(?:lin${stage}|lins\\.${stage})\\.model\\.1\\.weight$`);

/**
 * LPIPS from files: one with everything (a state dict of the `lpips` package), or two, the classifier's (torchvision's
 * vgg16 or alexnet) and LPIPS's own channel weights. Safetensors or torch files; which network it is, the shapes say.
 *
 * @throws CHECKPOINT_INVALID when keys are missing, or when it is neither network; FILE_ERROR
 * @example const lpips = await loadLpips(["vgg16.safetensors", "lpips-vgg.pth"], { device });
 */
export async function loadLpips(
  files: string | readonly string[],
  {
    device,
    dtype = "f32",
    signal,
  }: { readonly device: Device; readonly dtype?: LossDType; readonly signal?: AbortSignal | undefined },
): Promise<Lpips> {
  const paths = typeof files === "string" ? [files] : files;
  const opened = await Promise.all(paths.map((path) => openCheckpoint(path)));
  const inFeatures = opened.map((checkpoint) => prefixes(checkpoint)).findIndex((found) => found.size > 0);
  const backbone = opened[inFeatures];
  const heads = opened.find(({ entries }) => [...entries.keys()].some((key) => channelKey(0).test(key)));
  if (backbone === undefined || heads === undefined) {
    const lacks = backbone === undefined ? "a classifier's features (features.0.weight)" : "lin0.model.1.weight";
    const message = `lpips: ${paths.join(", ")}: no ${lacks}; give a file of the lpips package, or torchvision's and its own`;
    throw new HunyuanError("CHECKPOINT_INVALID", message, { file: paths[0] ?? "", key: "lin0.model.1.weight" });
  }
  const name = networkOf(backbone);
  const network = featureNetworks[name];
  const options = { dtype, signal };
  const features = await loadParams(device, backbone, featureSpec(network), featureNaming(backbone), options);
  try {
    const channels = await loadParams(device, heads, channelSpec(network), channelNaming(heads), options);
    return new Lpips(name, features, channels);
  } catch (error) {
    features.dispose();
    throw error;
  }
}

/** What stands before the number of each layer, by the number and "weight" or "bias". */
function prefixes({ entries }: Checkpoint): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const key of entries.keys()) {
    const [, prefix = "", name = ""] = /^(.*\.)(\d+\.(?:weight|bias))$/.exec(key) ?? [];
    if (featurePrefix.test(prefix)) found.set(name, prefix);
  }
  return found;
}

function networkOf(checkpoint: Checkpoint): keyof typeof featureNetworks {
  const { entries, source } = checkpoint;
  const key = `${prefixes(checkpoint).get("0.weight") ?? "features."}0.weight`;
  const shape = entries.get(key)?.shape ?? [];
  for (const name of ["vgg16", "alexnet"] as const) {
    const [first] = layersOf(featureNetworks[name]);
    const { inner, out, kernel } = first as { readonly inner: number; readonly out: number; readonly kernel: number };
    if (sameShape(shape, [out, inner, kernel, kernel])) return name;
  }
  const message = `${source}: ${key} is ${showShape(shape)}; expected VGG16 ([64, 3, 3, 3]) or AlexNet ([64, 3, 11, 11])`;
  throw new HunyuanError("CHECKPOINT_INVALID", message, { file: source, key });
}

function featureNaming(checkpoint: Checkpoint): Naming {
  const found = prefixes(checkpoint);
  return ({ name, shape }) => [{ key: `${found.get(name) ?? "features."}${name}`, rows: shape[0] ?? 1 }];
}

/** [1, C, 1, 1] in files: with one row, C numbers. */
function channelSpec(network: FeatureNetwork): readonly ParameterSpec[] {
  return network.stages.map(({ layers }, i) => ({
    name: `${i}.weight`,
    shape: [1, layers.at(-1)?.out ?? 0],
    layout: "same",
  }));
}

function channelNaming({ entries }: Checkpoint): Naming {
  return ({ name }) => {
    const stage = Number.parseInt(name, 10);
    const key = [...entries.keys()].find((one) => channelKey(stage).test(one)) ?? `lin${stage}.model.1.weight`;
    return [{ key, rows: 1 }];
  };
}
