/**
 * Calls every op for the recorder (native/core/recorder.h): all op cases with their gradients, dense and strided, and the
 * ops that have no cases. Run with HUNYUAN_RECORD=<file>; scripts/sanitize.mjs and scripts/simt/kernels.mjs replay the
 * file under a sanitizer.
 *
 *   HUNYUAN_CASES=norm        one family alone; "without-cases": only the ops that have none
 *   HUNYUAN_RECORD_FOR=simt   the cases that are meant for this device, still run by the CPU; default: cpu
 */
import {
  adamwStep,
  arange,
  clipScale,
  type Device,
  emaStep,
  type FloatDType,
  globalNorm,
  isHunyuanError,
  openDevice,
  rand,
  randn,
  scaleInPlace,
  scope,
  type Tensor,
  torchGenerator,
} from "../../lib/tensor.js";
import { loadCases } from "./run-cases.js";
import { walkCase } from "./walk-cases.js";

const dtypes = ["f32", "bf16", "f16", "f64"] as const;
/** Around the sizes of a vector and of a block; 0 where nothing is to be done. */
const sizes = [0, 1, 7, 15, 16, 17, 33, 255, 1031];

const discard = async () => {};

const wanted = process.env.HUNYUAN_CASES;
const withoutCases = "without-cases";

async function recordFamilies(device: Device): Promise<number> {
  let calls = 0;
  for (const [family, cases] of await loadCases(process.env.HUNYUAN_RECORD_FOR ?? "cpu")) {
    if (wanted !== undefined && wanted !== family) continue;
    for (const c of cases) {
      for (const dtype of c.dtypes ?? dtypes) {
        for (const pitched of [undefined, ...(c.pitch ?? [])]) {
          await walkCase(c, dtype, device, discard, pitched).catch((cause: unknown) => {
            const why = isHunyuanError(cause) ? `${cause.code}: ${cause.message}` : String(cause);
            throw new Error(`${family} ${c.name} ${dtype} ${pitched ?? "dense"}: ${why}`);
          });
          calls += 1;
        }
      }
    }
    await device.sync();
  }
  return calls;
}

function recordRandom(device: Device, dtype: FloatDType): void {
  for (const make of [rand, randn]) {
    for (const n of sizes) {
      make([n], { seed: 7, dtype, device });
      make([n], { seed: 2 ** 40 + 5, offset: 3, dtype, device });
    }
  }
  if (dtype === "f64") return;
  const generator = torchGenerator(42);
  for (const n of sizes) {
    randn([n], { generator, dtype, device });
    if (dtype === "f32") rand([n], { generator, device });
  }
}

function recordOptim(device: Device, dtype: FloatDType): void {
  const many = (seed: number, as: FloatDType) => sizes.map((n) => randn([n], { seed: seed + n, dtype: as, device }));
  const params = many(1, dtype);
  const grads = many(2000, dtype);
  const [m, v] = [many(4000, "f32"), sizes.map((n) => rand([n], { seed: n, device }))];
  const gradScale = clipScale(globalNorm(grads), 1);
  adamwStep(params, grads, m, v, { lr: 1e-3, step: 1, gradScale });
  adamwStep(params, grads, m, v, { lr: 1e-3, step: 2, weightDecay: 0 });
  if (dtype === "bf16" || dtype === "f16") {
    const masters = many(1, "f32") as Tensor<"f32">[];
    adamwStep(params, grads, m, v, { lr: 1e-3, step: 3, masters });
    adamwStep(params, grads, m, v, {
      lr: 1e-3,
      step: 3,
      masters: masters.map((t, i) => (i % 2 === 0 ? t : undefined)),
    });
  }
  emaStep(many(1, "f32"), params, 0.99);
  emaStep(params, grads, 0.5);
  scaleInPlace(grads, gradScale);
  scaleInPlace(grads, 0.5);
}

function recordOthers(device: Device): void {
  for (const dtype of dtypes) {
    scope(() => recordRandom(device, dtype));
    scope(() => recordOptim(device, dtype));
  }
  scope(() => {
    for (const n of sizes) arange(n, { device });
  });
}

const device = openDevice("cpu");
const calls = await recordFamilies(device);
const others = wanted === undefined || wanted === withoutCases;
if (others) recordOthers(device);
await device.sync();
if (calls === 0 && !others) throw new Error(`HUNYUAN_CASES=${wanted}: there is no such family in test/ops`);
console.log(`recorded the calls of ${calls} runs of op cases${others ? ", and of ops without cases" : ""}`);
await device.dispose();
