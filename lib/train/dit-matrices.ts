/** Which of the transformer's weights Muon moves, and which matrices lie one below the other in them. */
import type { ParameterGroup } from "./optimizer.js";

/**
 * Muon for the matrices of all blocks and of the text refiner's; what comes before and after them (embeddings, the last
 * layer) and everything with one axis is AdamW's. Names may have a prefix ("dit.").
 *
 * Source: Jordan et al., "Muon" (2024): "embeddings, classifier heads and hidden gains or biases by AdamW".
 */
export const ditMuonGroup = {
  kind: "muon",
  match: ["*double_blocks.*.weight", "*single_blocks.*.weight", "*individual_token_refiner.blocks.*.weight"],
} as const satisfies ParameterGroup;

/**
 * Rows of the matrices in a weight of the transformer [N, C]: q, k and v of a fused projection, the MLP beside them in a
 * single block, and the shifts, scales and gates of a modulation are maps of their own. For `OptimizerOptions.rowsOf`.
 *
 * @returns undefined where the weight is one matrix
 * @example ditMatrixRows("single_blocks.0.linear1.weight", [7 * 128, 128]) // [128, 128, 128, 512]
 */
export function ditMatrixRows(name: string, shape: readonly number[]): readonly number[] | undefined {
  const [rows = 0, hidden = 0] = shape;
  if (shape.length !== 2 || hidden === 0) return undefined;
  if (/single_blocks\.\d+\.linear1\.weight$/.test(name)) {
    const rest = rows - 3 * hidden;
    return rest > 0 ? [hidden, hidden, hidden, rest] : undefined;
  }
  const isFused = /(attn_qkv|_mod\.linear|modulation\.linear|adaLN_modulation\.1)\.weight$/.test(name);
  return isFused && rows % hidden === 0 ? Array.from({ length: rows / hidden }, () => hidden) : undefined;
}
