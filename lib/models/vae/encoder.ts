/** From pixels to the moments of the latents' distribution. */
import { convolution } from "../../nn/layers.js";
import type { Params } from "../../nn/params.js";
import type { FloatDType } from "../../tensor/dtype.js";
import type { Tensor } from "../../tensor/tensor.js";
import { midBlock, outputLayers, type Pass, replaced, resnet, show } from "./blocks.js";
import { blockStride } from "./config.js";
import { causalConvolution } from "./convolution.js";

/**
 * Encoder and `quant_conv`. Runs inside the caller's scope.
 *
 * @param video [B, T, H, W, 3], left as it is
 * @returns [B, T', H', W', 2 · latent channels]: mean, then the logarithm of the variance, not yet clamped
 */
export function encodeMoments<D extends FloatDType>(pass: Pass, p: Params, video: Tensor<D>): Tensor<D> {
  const { config } = pass;
  const encoder = p.at("encoder");
  let x = causalConvolution(encoder.at("conv_in.conv"), video);
  show(pass, "encoder", "conv_in", x);
  config.blockChannels.forEach((_, i) => {
    const block = encoder.at(`down_blocks.${i}`);
    for (let j = 0; j < config.layersPerBlock; j++) {
      x = resnet(pass, block.at(`resnets.${j}`), x);
      if (i === 0 && j === 0) pass.probe?.("enc.down_blocks.0.resnets.0", x);
    }
    const stride = blockStride(config, i);
    if (stride !== undefined) x = replaced(x, causalConvolution(block.at("downsamplers.0.conv.conv"), x, stride));
    show(pass, "encoder", `down_blocks.${i}`, x);
  });
  x = midBlock(pass, encoder.at("mid_block"), x, "enc.mid_block");
  show(pass, "encoder", "mid_block", x);
  x = outputLayers(pass, encoder, x, "enc");
  show(pass, "encoder", "conv_out", x);
  return replaced(x, convolution(p.at("quant_conv"), x));
}
