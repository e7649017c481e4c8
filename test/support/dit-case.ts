/** Transformer cases: a conformance case's weights, inputs and intermediates as the library holds them. */
import { type DitInput, HunyuanDit, type Probe } from "../../lib/models/dit/model.js";
import { ditConfigOfReference } from "../../lib/models/dit/reference-config.js";
import { ditSpec } from "../../lib/models/dit/spec.js";
import { Params, ResidentStore } from "../../lib/nn/params.js";
import { type Device, type DType, type FloatDType, permute, scope, type Tensor, tensor } from "../../lib/tensor.js";
import type { ConformanceCase } from "../conformance/case-file.js";
import type { HostTensor } from "../conformance/compare.js";
import type { FixtureTensor } from "./safetensors.js";

/** The model of a case, its weights in the given type. */
export function ditOf(from: ConformanceCase, device: Device, dtype: FloatDType): HunyuanDit {
  const config = ditConfigOfReference(from.about.config);
  const named = ditSpec(config).map(({ name, shape, layout }) => {
    const stored = from.weight(name);
    if (stored === undefined) throw new Error(`${from.name}: no weight ${name}`);
    const as = layout === "flat" ? [shape[0] ?? 0, shape.slice(1).reduce((a, b) => a * b, 1)] : shape;
    return [name, tensor(stored.data, { dtype, shape: as, device })] as const;
  });
  return new HunyuanDit(config, new Params(new ResidentStore(named)));
}

/** How many of a sample's text tokens are text. */
export function textLengths({ shape, data }: FixtureTensor): number[] {
  const [batch = 0, length = 0] = shape;
  return Array.from({ length: batch }, (_, b) =>
    data.slice(b * length, (b + 1) * length).reduce((sum, real) => sum + real, 0),
  );
}

/** [B, C, T, H, W] as [B, T, H, W, C]. */
export function channelsLast<D extends DType>(x: Tensor<D>): Tensor<D> {
  return permute(x, [0, 2, 3, 4, 1]);
}

/** [B, T, H, W, C] as [B, C, T, H, W]. */
export function channelsFirst<D extends DType>(x: Tensor<D>): Tensor<D> {
  return permute(x, [0, 4, 1, 2, 3]);
}

export function upload<D extends FloatDType>({ data, shape }: FixtureTensor, device: Device, dtype: D): Tensor<D> {
  return tensor(data, { dtype, shape, device });
}

/** What a case gives the transformer; the caller disposes of it. */
export function inputsOf<D extends FloatDType>(from: ConformanceCase, device: Device, dtype: D): DitInput<D> {
  const input = <T extends FloatDType>(name: string, type: T) => upload(from.input(name), device, type);
  return scope(() => ({
    latents: channelsLast(input("latents", dtype)),
    timestep: from.findInput("timestep") ? input("timestep", "f32") : tensor([0], { dtype: "f32", device }),
    text: input("text_states", dtype),
    textLengths: textLengths(from.input("text_mask")),
    pooled: input("text_states_2", dtype),
    guidance: input("guidance", "f32"),
  }));
}

export function disposeInputs(input: DitInput): void {
  for (const one of [input.latents, input.timestep, input.text, input.pooled, input.guidance]) one?.dispose();
}

/** A probe that reads what it is shown; of a place that is shown twice the last remains. */
export function readingProbe(): { readonly probe: Probe; readonly values: Map<string, Promise<HostTensor>> } {
  const values = new Map<string, Promise<HostTensor>>();
  const probe: Probe = (place, value) => {
    const { shape } = value;
    values.set(
      place,
      value.read().then((data) => ({ shape, data: Float64Array.from(data, Number) })),
    );
  };
  return { probe, values };
}

/** An intermediate in the stored number of rows, with zeros for padding that was cut away, and which rows count. */
export function overTokens(got: HostTensor, name: string, from: ConformanceCase) {
  const [batch = 0, rows = 0, width = 0] = from.stored.get(name)?.shape ?? [];
  const mask = from.input("text_mask");
  const video = rows - (mask.shape[1] ?? 0);
  const hasPadding = from.about.tensors[name]?.note?.includes("padded text") ?? false;
  const ends = textLengths(mask).map((length) => video + length);
  const keepsRow = (row: number) => !hasPadding || row % rows < (ends[Math.floor(row / rows)] as number);
  const seen = got.shape[1] ?? 0;
  if (!hasPadding || seen === rows) return { padded: got, keepsRow };
  const data = new Float64Array(batch * rows * width);
  for (let b = 0; b < batch; b++) {
    for (let i = 0; i < seen * width; i++) data[b * rows * width + i] = got.data[b * seen * width + i] as number;
  }
  return { padded: { shape: [batch, rows, width], data }, keepsRow };
}

/** What lives on the device now, to be compared with later. */
export function living(device: Device): { readonly live: number; readonly tensors: number } {
  const { live, tensors } = device.memory();
  return { live, tensors };
}

export async function hostOf(x: Tensor<FloatDType>): Promise<HostTensor> {
  return { shape: x.shape, data: await x.read() };
}
