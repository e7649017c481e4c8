/** Good checkpoints turned into bad ones, reproducibly, for property tests and the fuzz target. */

/** A source of random whole numbers in 0 … below − 1. */
export type Dice = (below: number) => number;

/** A small generator of its own (mulberry32), so that a seed means the same everywhere. */
export function dice(seed: number): Dice {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

/** Numbers at which sizes and signs turn over. */
const edges = [0n, 1n, 0x7fn, 0xffn, 0x7fffn, 0xffffn, 0x7fffffffn, 0xffffffffn, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n];

type Mutation = (bytes: Buffer, roll: Dice) => Buffer;

const flip: Mutation = (bytes, roll) => {
  const at = roll(bytes.length);
  bytes[at] = (bytes[at] as number) ^ (1 << roll(8));
  return bytes;
};
const overwrite: Mutation = (bytes, roll) => {
  bytes[roll(bytes.length)] = roll(256);
  return bytes;
};
const edge: Mutation = (bytes, roll) => {
  const width = 1 << roll(4);
  if (bytes.length < width) return bytes;
  const at = roll(bytes.length - width + 1);
  const value = BigInt.asUintN(8 * width, edges[roll(edges.length)] as bigint);
  for (let i = 0; i < width; i++) bytes[at + i] = Number((value >> BigInt(8 * i)) & 0xffn);
  return bytes;
};
const cutEnd: Mutation = (bytes, roll) => bytes.subarray(0, roll(bytes.length + 1));
const cutOut: Mutation = (bytes, roll) => {
  const [from, to] = range(bytes, roll);
  return Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)]);
};
const repeat: Mutation = (bytes, roll) => {
  const [from, to] = range(bytes, roll);
  return Buffer.concat([
    bytes.subarray(0, to),
    ...Array<Buffer>(1 + roll(3)).fill(bytes.subarray(from, to)),
    bytes.subarray(to),
  ]);
};
const insert: Mutation = (bytes, roll) => {
  const at = roll(bytes.length + 1);
  const more = Buffer.from(Array.from({ length: 1 + roll(8) }, () => roll(256)));
  return Buffer.concat([bytes.subarray(0, at), more, bytes.subarray(at)]);
};
const exchange: Mutation = (bytes, roll) => {
  const [from, to] = range(bytes, roll);
  const other = roll(bytes.length - (to - from) + 1);
  const copy = Buffer.from(bytes);
  copy.set(bytes.subarray(from, to), other);
  return copy;
};
/** Digits in texts, which JSON headers are full of. */
const digit: Mutation = (bytes, roll) => {
  const start = roll(bytes.length);
  for (let i = 0; i < bytes.length; i++) {
    const at = (start + i) % bytes.length;
    const code = bytes[at] as number;
    if (code < 0x30 || code > 0x39) continue;
    bytes[at] = 0x30 + roll(10);
    break;
  }
  return bytes;
};

const mutations = [flip, flip, overwrite, edge, edge, cutEnd, cutOut, repeat, insert, exchange, digit, digit];

function range(bytes: Buffer, roll: Dice): [number, number] {
  const from = roll(bytes.length + 1);
  return [from, Math.min(bytes.length, from + 1 + roll(64))];
}

/** One to four mutations of a copy. */
export function mutate(good: Uint8Array, roll: Dice): Buffer {
  let bytes = Buffer.from(good);
  for (let left = 1 + roll(4); left > 0 && bytes.length > 0; left--) {
    bytes = Buffer.from((mutations[roll(mutations.length)] as Mutation)(bytes, roll));
  }
  return bytes;
}
