/**
 * A small pickle machine (Python's pickletools.py says what each opcode does). A pickle is a program; this one can build
 * lists, tuples, dictionaries and plain values, and nothing else: what a name or a call means is the host's to say, and
 * the host refuses what it does not know. No code of the file is ever run.
 */
import { invalidCheckpoint, shown } from "./failure.js";

/** Things of the host's own: what a call or a persistent id gave. */
export abstract class PickleObject {
  abstract readonly kind: string;
}

export class PickleList {
  readonly items: PickleValue[] = [];
}

export class PickleTuple {
  readonly items: readonly PickleValue[];
  constructor(items: readonly PickleValue[]) {
    this.items = items;
  }
}

export class PickleDict {
  readonly entries = new Map<PickleValue, PickleValue>();
}

/** A name of Python's, such as collections.OrderedDict. It can be called only where the host knows it. */
export class PickleGlobal {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PickleList
  | PickleTuple
  | PickleDict
  | PickleGlobal
  | PickleObject;

/** What the machine asks of who reads a particular kind of pickle. Each may refuse by throwing. */
export interface PickleHost {
  /** The file, for messages. */
  readonly file: string;
  /** Whether the name may stand in this file at all. */
  knows(name: string): boolean;
  call(name: string, args: readonly PickleValue[]): PickleValue;
  /** What lies outside the pickle under this id. */
  persistent(id: PickleValue): PickleValue;
}

/** A state dict takes some 200 bytes and 45 instructions a tensor. */
export const maxPickleBytes = 8 * 2 ** 20;
const maxSteps = 400_000;
const maxMarks = 1000;
const maxLongBytes = 16;

/** @throws CHECKPOINT_INVALID naming the file */
export function unpickle(bytes: Buffer, host: PickleHost): PickleValue {
  return new Machine(bytes, host).run();
}

/** Stack and memo need no bounds of their own: each value takes an instruction. */
class Machine {
  readonly #bytes: Buffer;
  readonly #host: PickleHost;
  readonly #memo = new Map<number, PickleValue>();
  /** Heights of the stack at the open marks. */
  readonly #marks: number[] = [];
  readonly #stack: PickleValue[] = [];
  #at = 0;

  constructor(bytes: Buffer, host: PickleHost) {
    this.#bytes = bytes;
    this.#host = host;
  }

  run(): PickleValue {
    for (let count = 0; count < maxSteps; count++) {
      const at = this.#at;
      const code = this.byte();
      if (code === stop) return this.pop();
      const step = steps.get(code);
      if (step === undefined) throw this.refuse(`holds the opcode ${code} at byte ${at}, which no state dict needs`);
      step(this);
    }
    throw this.refuse(`has more than ${maxSteps} instructions`);
  }

  refuse(message: string): Error {
    return invalidCheckpoint(this.#host.file, `the pickle ${message}`);
  }

  // --- reading the program -------------------------------------------------------------------------------------------

  take(count: number): Buffer {
    const from = this.#at;
    if (!(count <= this.#bytes.length - from))
      throw this.refuse(`ends at byte ${this.#bytes.length} in mid-instruction`);
    this.#at += count;
    return this.#bytes.subarray(from, this.#at);
  }

  byte(): number {
    return this.take(1).readUInt8(0);
  }

  half(): number {
    return this.take(2).readUInt16LE(0);
  }

  word(): number {
    return this.take(4).readUInt32LE(0);
  }

  /** A 64-bit length; too long a one fails in `take`. */
  long(): number {
    return Number(this.take(8).readBigUInt64LE(0));
  }

  line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#at);
    if (end < 0) throw this.refuse("ends within a line");
    const text = this.take(end - this.#at).toString("utf8");
    this.#at++;
    return text;
  }

  /** A little-endian two's complement number. */
  integer(count: number): number | bigint {
    if (count > maxLongBytes) throw this.refuse(`holds a number of ${count} bytes`);
    let value = 0n;
    const bytes = this.take(count);
    for (let i = count - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i] as number);
    const signed = BigInt.asIntN(8 * count, value);
    return Number.isSafeInteger(Number(signed)) ? Number(signed) : signed;
  }

  // --- the stack -----------------------------------------------------------------------------------------------------

  push(value: PickleValue): void {
    this.#stack.push(value);
  }

  pop(): PickleValue {
    const floor = this.#marks[this.#marks.length - 1] ?? 0;
    if (this.#stack.length <= floor) throw this.refuse("takes a value where there is none");
    return this.#stack.pop() as PickleValue;
  }

  top(): PickleValue {
    const value = this.pop();
    this.#stack.push(value);
    return value;
  }

  mark(): void {
    if (this.#marks.length === maxMarks) throw this.refuse(`is nested deeper than ${maxMarks} levels`);
    this.#marks.push(this.#stack.length);
  }

  popToMark(): PickleValue[] {
    const from = this.#marks.pop();
    if (from === undefined) throw this.refuse("ends a list that was not begun");
    return this.#stack.splice(from);
  }

  remember(index: number): void {
    this.#memo.set(index, this.top());
  }

  memoize(): void {
    this.remember(this.#memo.size);
  }

  recall(index: number): void {
    const value = this.#memo.get(index);
    if (value === undefined) throw this.refuse(`recalls value ${index}, which it never stored`);
    this.push(value);
  }

  // --- building ------------------------------------------------------------------------------------------------------

  append(values: readonly PickleValue[]): void {
    const list = this.top();
    if (!(list instanceof PickleList)) throw this.refuse("appends to what is no list");
    for (const value of values) list.items.push(value);
  }

  setItems(pairs: readonly PickleValue[]): void {
    const dict = this.top();
    if (!(dict instanceof PickleDict) || pairs.length % 2 !== 0)
      throw this.refuse("sets items of what is no dictionary");
    for (let i = 0; i < pairs.length; i += 2) dict.entries.set(pairs[i] as PickleValue, pairs[i + 1] as PickleValue);
  }

  global(module: PickleValue, name: PickleValue): void {
    if (typeof module !== "string" || typeof name !== "string") throw this.refuse("names code by what is no text");
    const full = `${module}.${name}`;
    if (!this.#host.knows(full)) {
      throw invalidCheckpoint(
        this.#host.file,
        `the pickle names ${shown(full)}, which is not part of a state dict; nothing of it is run. ` +
          "Save the bare state dict, best as safetensors",
        full,
      );
    }
    this.push(new PickleGlobal(full));
  }

  call(): void {
    const args = this.pop();
    const callee = this.pop();
    if (!(callee instanceof PickleGlobal && args instanceof PickleTuple))
      throw this.refuse("calls what is no function");
    this.push(this.#host.call(callee.name, args.items));
  }

  /** Attributes of an object: an ordered state dict carries versions of modules there, which nobody needs. */
  build(): void {
    this.pop();
    const object = this.top();
    if (!(object instanceof PickleDict || object instanceof PickleObject))
      throw this.refuse("gives attributes to a value");
  }

  persistent(id: PickleValue): void {
    this.push(this.#host.persistent(id));
  }
}

const stop = 0x2e;

const tuple = (machine: Machine, size: number) => {
  const items = new Array<PickleValue>(size);
  for (let i = size - 1; i >= 0; i--) items[i] = machine.pop();
  machine.push(new PickleTuple(items));
};

/** What each opcode does, in protocols 2 to 5. Those that are missing serve objects of classes. */
const steps: ReadonlyMap<number, (machine: Machine) => void> = new Map<number, (machine: Machine) => void>([
  // protocol and framing
  [0x80, (m) => void m.byte()],
  [0x95, (m) => void m.long()],
  // constants
  [0x4e, (m) => m.push(null)],
  [0x88, (m) => m.push(true)],
  [0x89, (m) => m.push(false)],
  [0x4a, (m) => m.push(m.take(4).readInt32LE(0))],
  [0x4b, (m) => m.push(m.byte())],
  [0x4d, (m) => m.push(m.half())],
  [0x8a, (m) => m.push(m.integer(m.byte()))],
  [0x8b, (m) => m.push(m.integer(m.word()))],
  [0x47, (m) => m.push(m.take(8).readDoubleBE(0))],
  // text and bytes; U and T are Python 2's strings
  [0x58, (m) => m.push(m.take(m.word()).toString("utf8"))],
  [0x8c, (m) => m.push(m.take(m.byte()).toString("utf8"))],
  [0x8d, (m) => m.push(m.take(m.long()).toString("utf8"))],
  [0x55, (m) => m.push(m.take(m.byte()).toString("latin1"))],
  [0x54, (m) => m.push(m.take(m.word()).toString("latin1"))],
  [0x42, (m) => m.push(m.take(m.word()))],
  [0x43, (m) => m.push(m.take(m.byte()))],
  // containers
  [0x28, (m) => m.mark()],
  [0x7d, (m) => m.push(new PickleDict())],
  [0x5d, (m) => m.push(new PickleList())],
  [0x29, (m) => m.push(new PickleTuple([]))],
  [0x74, (m) => m.push(new PickleTuple(m.popToMark()))],
  [0x85, (m) => tuple(m, 1)],
  [0x86, (m) => tuple(m, 2)],
  [0x87, (m) => tuple(m, 3)],
  [0x61, (m) => m.append([m.pop()])],
  [0x65, (m) => m.append(m.popToMark())],
  [0x8f, (m) => m.push(new PickleList())], // sets are lists here: nobody asks them anything
  [0x90, (m) => m.append(m.popToMark())],
  [
    0x73,
    (m) => {
      const value = m.pop();
      m.setItems([m.pop(), value]);
    },
  ],
  [0x75, (m) => m.setItems(m.popToMark())],
  [0x30, (m) => void m.pop()],
  [0x31, (m) => void m.popToMark()],
  [0x32, (m) => m.push(m.top())],
  // memo
  [0x71, (m) => m.remember(m.byte())],
  [0x72, (m) => m.remember(m.word())],
  [0x94, (m) => m.memoize()],
  [0x68, (m) => m.recall(m.byte())],
  [0x6a, (m) => m.recall(m.word())],
  // names, calls, what lies outside
  [0x63, (m) => m.global(m.line(), m.line())],
  [
    0x93,
    (m) => {
      const name = m.pop();
      m.global(m.pop(), name);
    },
  ],
  [0x52, (m) => m.call()],
  [0x62, (m) => m.build()],
  [0x51, (m) => m.persistent(m.pop())],
]);
