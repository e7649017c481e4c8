/** The autoencoder's conformance cases: a model with a case's weights, clips in and out in the case's layout. */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";
import type { VaeConfig } from "../../lib/models/vae/config.js";
import { CausalVae } from "../../lib/models/vae/model.js";
import { vaeConfigOfReference } from "../../lib/models/vae/reference-config.js";
import { vaeSpec } from "../../lib/models/vae/spec.js";
import { Params, ResidentStore } from "../../lib/nn/params.js";
import { type Device, type FloatDType, permute, scope, type Tensor, tensor } from "../../lib/tensor.js";
import { ConformanceCase } from "../conformance/case-file.js";
import type { RunDType } from "../conformance/compare.js";
import { compare } from "../conformance/compare.js";

const fixtures = join(dirname(dirname(fileURLToPath(import.meta.url))), "fixtures");

export const vaeCase = (name: string) => new ConformanceCase(fixtures, name);

/** [B, C, T, H, W] as [B, T, H, W, C]; so also a convolution's weights. */
export const channelsLast = <D extends FloatDType>(x: Tensor<D>): Tensor<D> => permute(x, [0, 2, 3, 4, 1]);
export const channelsFirst = <D extends FloatDType>(x: Tensor<D>): Tensor<D> => permute(x, [0, 4, 1, 2, 3]);

/** The weights of a case as parameters; they are nobody's but the store's. */
export function paramsOf(from: ConformanceCase, config: VaeConfig, device: Device, dtype: FloatDType): Params {
  const specs = vaeSpec(config);
  assert.equal(
    specs.map(({ name }) => name).sort(),
    from
      .weightKeys()
      .filter((key) => /^(encoder|decoder|quant_conv|post_quant_conv)\./.test(key))
      .sort(),
  );
  const made = specs.map(({ name, shape, layout }): [string, Tensor] => {
    const stored = from.weight(name);
    if (stored === undefined) throw new Error(`no weight ${name}`);
    assert.equal(stored.shape, shape, name);
    return [
      name,
      scope(() => {
        const saved = tensor(stored.data, { dtype, shape: stored.shape, device });
        return layout === "channels-last" ? channelsLast(saved) : saved;
      }),
    ];
  });
  return new Params(new ResidentStore(made));
}

export function vaeOf(from: ConformanceCase, device: Device, dtype: FloatDType): CausalVae {
  const owner = from.withConfig("block_out_channels");
  if (owner === undefined) throw new Error(`${from.name} has no autoencoder`);
  const config = vaeConfigOfReference(owner.about.config);
  return new CausalVae(config, paramsOf(from, config, device, dtype));
}

/** A stored clip in our layout. */
export function clipOf<D extends FloatDType>(from: ConformanceCase, name: string, device: Device, dtype: D): Tensor<D> {
  const { data, shape } = from.input(name);
  return scope(() => channelsLast(tensor(data, { dtype, shape, device })));
}

/** Reads a clip of ours in the case's layout, or what has other axes as it is, and disposes of it. */
export async function readFirst(x: Tensor<FloatDType>) {
  const first = x.rank === 5 ? scope(() => channelsFirst(x)) : x;
  const { shape } = first;
  const data = await first.read();
  first.dispose();
  x.dispose();
  return { shape, data };
}

/** Compares ours, disposed of, with what the case holds. */
export async function expectClose(from: ConformanceCase, name: string, x: Tensor<FloatDType>, dtype: RunDType) {
  const { maxRelErr, tolerance, pass } = compare(from, name, await readFirst(x), { dtype });
  assert.ok(pass, `${from.name} ${dtype} ${name}: ${maxRelErr}, allowed ${tolerance}`);
}

/** What lives on a device: equal before and after work that leaves nothing behind. */
export function living(device: Device) {
  const { live, tensors, forgotten } = device.memory();
  return { live, tensors, forgotten };
}
