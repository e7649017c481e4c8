/** A transformer to train from scratch. */
import { checkDitConfig, type DitConfig } from "../../models/dit/config.js";
import { HunyuanDit } from "../../models/dit/model.js";
import { ditSpec } from "../../models/dit/spec.js";
import type { ParameterSpec } from "../../nn/spec.js";
import { ditMatrixRows } from "../dit-matrices.js";
import { type InitialOptions, initialParams, one, type Start, zero } from "./start.js";

/**
 * A transformer that begins with every block the identity and a velocity of zero: modulations and the last layer are zero,
 * as in the original. Other matrices are drawn by their width, embeddings of timestep and guidance with deviation 0.02,
 * norms are one and biases zero.
 *
 * @throws MODEL_UNSUPPORTED
 * @example const dit = initialDit({ ...ditPresets.t2vUndistilled, hiddenSize: 128, numHeads: 2, … }, { device, seed: 1 });
 * @see Peebles and Xie, Scalable Diffusion Models with Transformers (arXiv 2212.09748), adaLN-Zero
 */
export function initialDit(config: DitConfig, options: InitialOptions): HunyuanDit {
  checkDitConfig(config);
  return new HunyuanDit(config, initialParams(ditSpec(config), startOf, options));
}

function startOf({ name, shape }: ParameterSpec): Start {
  if (/norm\d?\.weight$/.test(name)) return one;
  if (name.endsWith(".bias") || /(_mod|modulation|final_layer)\.linear\.|adaLN_modulation\./.test(name)) return zero;
  if (/(time_in|guidance_in|t_embedder)\.mlp\./.test(name)) return { kind: "normal", std: 0.02 };
  return { kind: "xavier", rows: ditMatrixRows(name, shape) };
}
