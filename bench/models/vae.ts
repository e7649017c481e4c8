/** The autoencoder's decoder at its real widths. */
import { type VaeConfig, vaePresets } from "../../lib/models/vae/config.js";
import { CausalVae } from "../../lib/models/vae/model.js";
import { vaeSpec } from "../../lib/models/vae/spec.js";
import { Params, ResidentStore } from "../../lib/nn/params.js";
import { type Device, type FloatDType, mul, noGrad, randn, scope } from "../../lib/tensor.js";
import type { BenchCase } from "../case.js";

const config: VaeConfig = vaePresets["884-16c-hy"];

function randomParams(device: Device, dtype: FloatDType): Params {
  const named = vaeSpec(config, "decoder").map(({ name, shape, layout }) => {
    const [out = 0, inner = 1, ...kernel] = shape;
    const as = layout === "channels-last" ? [out, ...kernel, inner] : shape;
    const scale = shape.length > 1 ? 1 / Math.sqrt(shape.slice(1).reduce((a, b) => a * b, 1)) : 0.1;
    return [name, scope(() => mul(randn(as, { seed: 1, dtype, device }), scale))] as const;
  });
  return new Params(new ResidentStore(named));
}

function decode(dtype: "f32" | "bf16", latents: readonly [t: number, h: number, w: number]): BenchCase {
  const { blockChannels: widths, layersPerBlock: layers, normGroups: groups, latentChannels: channels } = config;
  return {
    op: "vae decode",
    shape: `[1, ${channels}, ${latents.join(", ")}], widths ${widths.join(", ")}`,
    dtype,
    bound: "fma",
    memory: true,
    peer: { kind: "vae_decode", dtype, widths, layers, groups, channels, latents },
    async open(device) {
      const vae = new CausalVae(config, randomParams(device, dtype));
      const z = randn([1, ...latents, channels], { seed: 2, dtype, device });
      await device.sync();
      return {
        run: () => noGrad(() => vae.decode<FloatDType>(z)).dispose(),
        close: () => {
          z.dispose();
          vae.dispose();
        },
      };
    },
  };
}

export const vaeCases: readonly BenchCase[] = [decode("f32", [3, 16, 16])];
