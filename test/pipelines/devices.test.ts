/**
 * Requests to a tiny model on each device but the CPU, against the CPU: the whole way from words to bytes, blocks that
 * stream in, tiles, pictures and videos going in. Nothing above lib/ops knows on which device it runs.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { GenerateRequest, LoadOptions, Video } from "../../lib/index.js";
import type { FrameSource } from "../../lib/io/media/frames.js";
import type { Tensor } from "../../lib/tensor.js";
import { distance } from "../support/conformance.js";
import { devicesHere, plainErrors } from "../support/each-device.js";
import { loadTiny, restingMemory, sameBytes, tinyFolder } from "../support/tiny-pipeline.js";

const blocks = { numDoubleBlocks: 1, numSingleBlocks: 1 } as const;
const folder = tinyFolder({ dit: blocks });
const request = { prompt: "a cat walks", width: 32, height: 16, numFrames: 5, numInferenceSteps: 2, seed: 7 } as const;
const picture = {
  width: 32,
  height: 16,
  data: Uint8Array.from({ length: 32 * 16 * 3 }, (_, i) => (37 * i) % 251),
};

const clip: FrameSource = {
  ...picture,
  ...{ fps: 24, numFrames: 5 },
  frames: () => Array.from({ length: 5 }, (_, t) => picture.data.map((byte) => (byte + 20 * t) % 251)),
};

/** One video on a device; afterwards the model holds what it held. */
async function once(device: string, wanted: Partial<GenerateRequest> = {}, options: LoadOptions = {}, from = folder) {
  await using model = await loadTiny(from, { device, ...options });
  const resting = await restingMemory(model);
  const video = (await model.generate({ ...request, ...wanted })) as Video;
  // What streams in has, after its first use, views on the block that was used last.
  const after = await restingMemory(model);
  if (options.offload === undefined) assert.equal(after, resting);
  return video;
}

/** Bytes that differ by more than their rounding are wrong: both devices compute in f32. */
function assertClose(got: Video, want: Video): void {
  assert.equal([got.width, got.height, got.numFrames], [want.width, want.height, want.numFrames]);
  const worst = got.data.reduce((most, byte, i) => Math.max(most, Math.abs(byte - (want.data[i] as number))), 0);
  assert.ok(worst <= 1, `a byte is off by ${worst}`);
}

/** Two pieces of nine frames, three tiles that overlap in each. */
const tiling = { frames: { tile: 4, stride: 4 }, width: { tile: 16, stride: 8 } };

/** How a request may differ, and the model that it is made to. */
const ways: readonly (readonly [string, Partial<GenerateRequest>, from?: string])[] = [
  ["as it is", {}],
  ["decoded in tiles", { tiling, numFrames: 9, numInferenceSteps: 1 }],
  ["with true guidance in one batch, and PyTorch's noise", { trueCfgScale: 3, batchedCfg: true, rng: "torch" }],
  ["from a video", { video: clip, strength: 0.6 }],
  ["from an image", { image: picture }, tinyFolder({ dit: { ...blocks, i2v: "token_replace" } })],
];

const test = suite("requests on devices");

for (const device of await devicesHere()) {
  if (device === "cpu") continue;
  for (const [how, wanted, from] of ways) {
    test(`${device}: ${how}`, () =>
      plainErrors(async () => {
        const want = await once("cpu", wanted, {}, from);
        assertClose(await once(device, wanted, {}, from), want);
      }));
  }

  test(`${device}: offload by blocks gives the same bytes, request after request`, () =>
    plainErrors(async () => {
      const resident = await once(device);
      await using streamed = await loadTiny(folder, { device, offload: "blocks" });
      assert.ok(sameBytes(await streamed.generate(request), resident));
      assert.ok(sameBytes(await streamed.generate(request), resident), "and again");
    }));

  test(`${device}: in bf16 about the same video`, () =>
    plainErrors(async () => {
      const [want, got] = [await once("cpu"), await once(device, {}, { dtype: "bf16" })];
      const apart = got.data.reduce((sum, byte, i) => sum + Math.abs(byte - (want.data[i] as number)), 0);
      assert.ok(apart / got.data.length < 4, `bytes differ by ${apart / got.data.length} on average`);
    }));

  test(`${device}: latents of a video, and a preview of them`, () =>
    plainErrors(async () => {
      const found: { readonly latents: ArrayLike<number>; readonly preview: Uint8Array | undefined }[] = [];
      for (const name of ["cpu", device]) {
        await using model = await loadTiny(folder, { device: name });
        using latents: Tensor<"f32"> = await model.encodeVideo(clip);
        let preview: Uint8Array | undefined;
        await model.generate(
          { ...request, preview: true, numFrames: 1, numInferenceSteps: 1 },
          {
            onProgress: (event) => {
              if (event.stage === "sample") preview = event.preview?.data;
            },
          },
        );
        found.push({ latents: await latents.read(), preview });
      }
      const [want, got] = found as [(typeof found)[0], (typeof found)[0]];
      assert.ok(distance(got.latents, want.latents) < 1e-4);
      assert.is(got.preview?.length, 4 * 2 * 3);
      // A preview's colours are decoded from flat latents. With random weights little else than rounding varies there, and
      // the norms divide by it: in f32 each device is some hundredths off from f64.
      assert.ok(got.preview?.every((byte, i) => Math.abs(byte - (want.preview?.[i] as number)) <= 16));
    }));
}

test.run();
