/**
 * What a call costs the event loop: checks, handles, the record and the way into the queue, on the `null` device, whose
 * kernels do nothing. The aim is at most 3 µs for an op, its disposal by a scope included.
 *
 * Runs as `npm run bench -- --only dispatch`, or alone: npx tsx --expose-gc bench/dispatch.bench.ts
 */
import { pathToFileURL } from "node:url";
import b from "benny";
import { binding } from "../lib/runtime/binding.js";
import {
  add,
  attention,
  type Device,
  layerNormModulate,
  linear,
  openDevice,
  requiresGrad,
  scope,
  slice,
  type Tensor,
  zeros,
} from "../lib/tensor.js";
import { summarize } from "./measure.js";
import { duration, Reporter } from "./report.js";

/** Op calls in one scope: about those of a transformer block. */
const callsPerScope = 16;
/** Scopes before a wait, which keeps the queue from filling up: the wait's own time is lost among the calls. */
const scopesPerRun = 64;
const growthCalls = 1_000_000;

interface DispatchCase {
  readonly op: string;
  readonly shape: string;
  /** Calls that one run makes; the time is divided by it. */
  readonly calls: number;
  readonly run: () => void | Promise<void>;
}

/** An op, called 16 times in each of 64 scopes that dispose of the results. */
function inScopes(device: Device, op: string, shape: string, call: () => Tensor): DispatchCase {
  const run = async () => {
    for (let n = 0; n < scopesPerRun; n++) {
      scope(() => {
        for (let i = 0; i < callsPerScope; i++) call();
      });
    }
    await device.sync();
  };
  return { op, shape, calls: scopesPerRun * callsPerScope, run };
}

function casesOn(device: Device): readonly DispatchCase[] {
  const zero = (...shape: number[]) => zeros(shape, { device });
  const [small, other] = [zero(8, 16), zero(8, 16)];
  const leaf = requiresGrad(zero(8, 16));
  const [x, weight, bias] = [zero(1, 256, 3072), zero(3072, 3072), zero(3072)];
  const [shift, scale] = [zero(1, 3072), zero(1, 3072)];
  const [q, k, v] = [zero(1, 256, 24, 128), zero(1, 256, 24, 128), zero(1, 256, 24, 128)];
  const cuSeqlens = zeros([3], { device, dtype: "i32" });
  const native = binding();
  return [
    {
      op: "native call",
      shape: "isAlive: the floor of any call",
      calls: callsPerScope,
      run: () => {
        for (let i = 0; i < callsPerScope; i++) native.isAlive(small.handle);
      },
    },
    inScopes(device, "add", "[8, 16] twice", () => add(small, other)),
    inScopes(device, "add recorded", "[8, 16] twice, one a leaf", () => add(leaf, other)),
    inScopes(device, "layerNormModulate", "[1, 256, 3072], shift, scale", () => layerNormModulate(x, shift, scale)),
    inScopes(device, "linear", "[1, 256, 3072], weight, bias", () => linear(x, weight, { bias })),
    inScopes(device, "attention", "[1, 256, 24, 128], cuSeqlens", () => attention(q, k, v, { cuSeqlens })),
    inScopes(device, "slice", "a view of [1, 256, 3072]", () => slice(x, 1, 16, 32)),
    {
      op: "alias dispose",
      shape: "no scope",
      calls: callsPerScope,
      run: () => {
        for (let i = 0; i < callsPerScope; i++) small.alias().dispose();
      },
    },
    { op: "scope", shape: "empty", calls: 1, run: () => void scope(() => 0) },
  ];
}

interface Growth {
  readonly heapMiB: number;
  readonly liveBytes: number;
  readonly tensors: number;
  readonly forgotten: number;
}

/** What a million calls leave behind, in the engine's heap and on the device. */
async function measureGrowth(device: Device): Promise<Growth> {
  const a = zeros([8, 16], { device });
  const c = zeros([8, 16], { device });
  const block = async (calls: number) => {
    for (let i = 0; i < calls; i += 1000) {
      scope(() => {
        for (let j = 0; j < 1000; j++) add(a, c);
      });
      await device.sync();
    }
  };
  const settled = async () => {
    globalThis.gc?.();
    await device.sync();
    return { heap: process.memoryUsage().heapUsed, memory: device.memory() };
  };
  await block(100_000);
  const start = await settled();
  await block(growthCalls);
  const end = await settled();
  a.dispose();
  c.dispose();
  return {
    heapMiB: (end.heap - start.heap) / 2 ** 20,
    liveBytes: end.memory.live - start.memory.live,
    tensors: end.memory.tensors - start.memory.tensors,
    forgotten: end.memory.forgotten - start.memory.forgotten,
  };
}

/** Time of a wait for an empty queue and of reading four numbers, one after the other: latency, not throughput. */
async function latencies(device: Device, reporter: Reporter): Promise<void> {
  const four = zeros([4], { device });
  for (const [op, wait] of [
    ["sync", () => device.sync()],
    ["read", () => four.read()],
  ] as const) {
    const times: number[] = [];
    for (let i = 0; i < 2200; i++) {
      const start = performance.now();
      await wait();
      if (i >= 200) times.push((performance.now() - start) * 1000);
    }
    report(reporter, op, op === "read" ? "[4]" : "empty queue", times);
  }
  four.dispose();
}

function report(reporter: Reporter, op: string, shape: string, microseconds: readonly number[]): void {
  const timing = summarize(microseconds);
  reporter.add({
    ...{ op: `dispatch ${op}`, shape, dtype: "f32", device: "null", threads: 1, isa: "–", ...timing },
    ...{ rate: 1e6 / timing.medianUs, unit: "calls/s", limit: null, percentOfLimit: null },
  });
}

export async function runDispatch(reporter: Reporter): Promise<void> {
  const device = openDevice("null");
  const cases = casesOn(device);
  // benny greets on stdout, which may be for JSON only.
  const { log } = console;
  console.log = () => {};
  const summary = await b
    .suite(
      "dispatch",
      b.configure({ cases: { minSamples: 100, minTime: 0.004, maxTime: 1 } }),
      ...cases.map(({ op, run }) => b.add(op, run)),
    )
    .finally(() => {
      console.log = log;
    });
  cases.forEach(({ op, shape, calls }, i) => {
    const samples = summary.results[i]?.details.sampleResults ?? [];
    report(
      reporter,
      op,
      shape,
      samples.map((seconds) => (seconds * 1e6) / calls),
    );
  });
  await device.sync();
  await latencies(device, reporter);
  const growth = await measureGrowth(device);
  reporter.add({
    ...{ op: "dispatch heap growth", shape: "a million calls of add", dtype: "f32", device: "null", threads: 1 },
    ...{ isa: "–", medianUs: null, spreadPct: null, rate: growth.heapMiB, unit: "MiB", limit: null },
    percentOfLimit: null,
  });
  const collected = globalThis.gc === undefined ? "without --expose-gc: garbage counts" : "after garbage collection";
  reporter.note(
    `after a million calls: heap ${growth.heapMiB.toFixed(2)} MiB (${collected}), device ${growth.liveBytes} bytes, ` +
      `${growth.tensors} tensors, ${growth.forgotten} caught by the garbage collector`,
  );
  const slowest = Math.max(...reporter.rows.filter((row) => isOpCall(row.op)).map((row) => row.medianUs ?? 0));
  reporter.note(`slowest op call without gradients: ${duration(slowest)} (aim: 3 µs)`);
  await device.dispose();
}

const isOpCall = (op: string) => /^dispatch (add|layerNormModulate|linear|attention|slice)$/.test(op);

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await runDispatch(new Reporter({ json: false }));
