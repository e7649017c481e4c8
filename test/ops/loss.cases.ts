import { crossEntropy, l1, logSoftmax, mse, softmax } from "../../lib/ops/loss.js";
import { eachRow, fill, type Host, hostOf, type OpCase, opCase } from "./case.js";

function softmaxRows(x: Host, log: boolean): Host {
  const y = fill(x.shape, () => 0);
  eachRow(x, (row, r) => {
    const m = row.reduce((a, b) => Math.max(a, b), -Infinity);
    const total = row.reduce((a, b) => a + Math.exp(b - m), 0);
    row.forEach((v, i) => {
      y.data[r * row.length + i] = log ? v - m - Math.log(total) : Math.exp(v - m) / total;
    });
  });
  return y;
}

const softmaxCases = [
  { name: "softmax", run: softmax, log: false },
  { name: "logSoftmax", run: logSoftmax, log: true },
].flatMap(({ name, run, log }) => [
  ...[[1], [5, 1], [3, 7], [2, 3, 17], [4, 15], [4, 33], [0, 5], [3, 0], [5, 128], [2, 264], [2, 1040]].map((shape) =>
    opCase({
      name: `${name} [${shape}]`,
      inputs: { x: { shape } },
      run: ({ x }) => run(x),
      reference: ({ x }) => softmaxRows(x, log),
      gradients: shape[1]! > 200 ? [] : ["x"],
      pitch: ["x"],
      slack: 8,
    }),
  ),
  ...[520, 3080, 8208, 3075].map((width) =>
    opCase({
      name: `${name} [2,${width}], a width for each way of dealing rows out`,
      inputs: { x: { shape: [2, width] } },
      run: ({ x }) => run(x),
      reference: ({ x }) => softmaxRows(x, log),
      gradients: ["x"],
      pitch: ["x"],
      slack: 16,
      dtypes: ["f32", "bf16", "f16"],
      only: ["simt", "cuda"],
    }),
  ),
  opCase({
    name: `${name} of long rows that begin with −inf`,
    inputs: { x: { shape: [3, 8208], value: (i, random) => (i < 6000 || i >= 16_416 ? -Infinity : random()) } },
    run: ({ x }) => run(x),
    reference: ({ x }) => softmaxRows(x, log),
    slack: 8,
    dtypes: ["f32", "bf16"],
  }),
  opCase({
    name: `${name} of long rows and of large values`,
    inputs: { x: { shape: [3, 40_009], value: (_, random) => 300 * (random() - 0.5) } },
    run: ({ x }) => run(x),
    reference: ({ x }) => softmaxRows(x, log),
    // exp is within an ulp; of 150 away from the maximum nothing is left in either.
    slack: 8,
    dtypes: ["f32", "bf16", "f16"],
  }),
  opCase({
    name: `${name} with −inf, rows of −inf, inf and NaN`,
    inputs: {
      x: {
        shape: [4, 18],
        value: (i) =>
          i < 18 ? (i % 5 === 0 ? -Infinity : i / 9) : i < 36 ? -Infinity : i === 40 ? Infinity : i === 60 ? NaN : 1,
      },
    },
    run: ({ x }) => run(x),
    reference: ({ x }) => softmaxRows(x, log),
    slack: 8,
  }),
]);

const distanceCases = [
  { name: "mse", run: mse, plain: (d: number) => d * d },
  { name: "l1", run: l1, plain: Math.abs },
].flatMap(({ name, run, plain }) => {
  const reference = ({ a, b }: { readonly a: Host; readonly b: Host }) =>
    hostOf([], [a.data.reduce((total, v, i) => total + plain(v - b.data[i]!), 0) / a.data.length]);
  return [
    ...[[1], [3, 7], [2, 5, 3]].map((shape) =>
      opCase({
        name: `${name} [${shape}]`,
        // Never equal, nor nearly: l1 has a kink there.
        inputs: {
          a: { shape, value: (i, random) => random() + (i % 2 === 0 ? 2 : -2) },
          b: { shape, value: (_, random) => random() },
        },
        run: ({ a, b }) => run(a, b),
        reference,
        gradients: ["a", "b"],
        pitch: ["a", "b"],
      }),
    ),
    opCase({
      name: `${name} across segments`,
      inputs: { a: { shape: [37, 1801] }, b: { shape: [37, 1801] } },
      run: ({ a, b }) => run(a, b),
      reference,
      pitch: ["a"],
      dtypes: ["f32", "bf16", "f16"],
    }),
    opCase({
      name: `${name} of nothing is NaN`,
      inputs: { a: { shape: [0, 3] }, b: { shape: [0, 3] } },
      run: ({ a, b }) => run(a, b),
      reference: () => hostOf([], [NaN]),
    }),
  ];
});

function crossEntropyReference(logits: Host, labels: Host, ignore: number): Host {
  const logs = softmaxRows(logits, true);
  const width = logits.shape[1]!;
  let [total, counted] = [0, 0];
  labels.data.forEach((label, row) => {
    if (label === ignore) return;
    total -= logs.data[row * width + label]!;
    counted++;
  });
  return hostOf([], [total / counted]);
}

const crossEntropyCases = [
  ...(["i32", "i64"] as const).flatMap((dtype) =>
    [
      [1, 1],
      [5, 7],
      [3, 1031],
      [5, 24],
      [2, 1032],
    ].map(([n, c]) =>
      opCase({
        name: `crossEntropy [${n}, ${c}] with labels in ${dtype}`,
        inputs: { logits: { shape: [n!, c!] }, labels: { shape: [n!], dtype, value: (i) => (i * 5 + 3) % c! } },
        run: ({ logits, labels }) => crossEntropy(logits, labels),
        reference: ({ logits, labels }) => crossEntropyReference(logits, labels, -100),
        ...(c! < 100 ? { gradients: ["logits"] } : {}),
        pitch: ["logits"],
        slack: 8,
      }),
    ),
  ),
  opCase({
    name: "crossEntropy with rows left out",
    inputs: {
      logits: { shape: [6, 5] },
      labels: { shape: [6], dtype: "i32", value: (i) => (i % 3 === 1 ? 4 : i % 4) },
    },
    run: ({ logits, labels }) => crossEntropy(logits, labels, { ignoreIndex: 4 }),
    reference: ({ logits, labels }) => crossEntropyReference(logits, labels, 4),
    gradients: ["logits"],
    slack: 8,
  }),
  opCase({
    name: "crossEntropy of no row is NaN",
    inputs: { logits: { shape: [2, 3] }, labels: { shape: [2], dtype: "i64", value: () => -100 } },
    run: ({ logits, labels }) => crossEntropy(logits, labels),
    reference: () => hostOf([], [NaN]),
  }),
];

export const cases: OpCase[] = [...softmaxCases, ...distanceCases, ...crossEntropyCases];
