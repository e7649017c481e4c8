/** From latents to pixels. */
import { convolution } from "../../nn/layers.js";
import type { Params } from "../../nn/params.js";
import type { FloatDType } from "../../tensor/dtype.js";
import type { Tensor } from "../../tensor/tensor.js";
import { midBlock, outputLayers, type Pass, replaced, resnet, show } from "./blocks.js";
import { blockStride } from "./config.js";
import { causalConvolution, upsampledConvolution } from "./convolution.js";

/**
 * `post_quant_conv` and decoder. Runs inside the caller's scope.
 *
 * @param z [B, T, H, W, latent channels], left as it is
 * @returns [B, 4 (T − 1) + 1, 8 H, 8 W, 3]
 */
export function decodeLatents<D extends FloatDType>(pass: Pass, p: Params, z: Tensor<D>): Tensor<D> {
  const { config } = pass;
  const decoder = p.at("decoder");
  let x = convolution(p.at("post_quant_conv"), z);
  show(pass, "decoder", "post_quant_conv", x);
  x = replaced(x, causalConvolution(decoder.at("conv_in.conv"), x));
  show(pass, "decoder", "conv_in", x);
  x = midBlock(pass, decoder.at("mid_block"), x, "dec.mid_block");
  show(pass, "decoder", "mid_block", x);
  config.blockChannels.forEach((_, i) => {
    const block = decoder.at(`up_blocks.${i}`);
    for (let j = 0; j <= config.layersPerBlock; j++) x = resnet(pass, block.at(`resnets.${j}`), x);
    const factors = blockStride(config, i);
    if (factors !== undefined)
      x = replaced(x, upsampledConvolution(pass, block.at("upsamplers.0.conv.conv"), x, factors));
    show(pass, "decoder", `up_blocks.${i}`, x);
  });
  x = outputLayers(pass, decoder, x, "dec");
  pass.onBlock?.("decoder.conv_out", x);
  return x;
}
