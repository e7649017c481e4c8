/** Writes one op call into the mailbox, the flat record that native/addon reads. */
import { headerDoubles, mailboxOf, tensorDoubles, writtenFlag } from "../runtime/mailbox.js";
import { dtypeCode } from "./dtype.js";
import type { AttrInput, AttrSpec, KernelView, OutputSpec } from "./op.js";
import type { Tensor } from "./tensor.js";

/** Doubles that a tensor of this rank takes in a record. */
export function doublesOfTensor(rank: number): number {
  return 5 + 2 * rank;
}

export class RecordWriter {
  #box: Float64Array = new Float64Array(0);
  #at = 0;

  /** Starts a record; the counts say how long it will be. */
  begin(op: number, args: number, tensors: number, attrDoubles: number): void {
    this.#box = mailboxOf(headerDoubles + args + tensors * tensorDoubles + attrDoubles);
    this.#box[0] = op;
    this.#box[1] = 0;
    this.#box[2] = args;
    this.#box[3] = attrDoubles;
    this.#at = headerDoubles;
  }

  /** Where the next double goes. */
  get place(): number {
    return this.#at;
  }

  /** How many tensors the next argument has: 0 when it is not given. */
  count(tensors: number): void {
    this.#box[this.#at++] = tensors;
  }

  tensor(tensor: Tensor, view: KernelView, written: boolean): void {
    const box = this.#box;
    let at = this.#at;
    box[at++] = tensor.handle;
    box[at++] = written ? writtenFlag : 0;
    box[at++] = dtypeCode(tensor.dtype);
    box[at++] = view.offset;
    box[at++] = view.shape.length;
    const { shape, strides } = view;
    for (let i = 0; i < shape.length; i++) box[at + i] = shape[i] as number;
    at += shape.length;
    for (let i = 0; i < strides.length; i++) box[at + i] = strides[i] as number;
    at += strides.length;
    this.#at = at;
  }

  /** A fresh output: native code writes its handle where the 0 stands. */
  output({ dtype, shape }: OutputSpec): void {
    const box = this.#box;
    const rank = shape.length;
    let at = this.#at;
    box[at++] = 0;
    box[at++] = writtenFlag;
    box[at++] = dtypeCode(dtype);
    box[at++] = 0;
    box[at++] = rank;
    let step = 1;
    for (let i = rank - 1; i >= 0; i--) {
      box[at + i] = shape[i] as number;
      box[at + rank + i] = step;
      step *= shape[i] as number;
    }
    this.#at = at + 2 * rank;
  }

  attr(spec: AttrSpec, value: AttrInput): void {
    if (typeof value === "number") this.#box[this.#at++] = value;
    else if (typeof value === "boolean") this.#box[this.#at++] = value ? 1 : 0;
    else if (typeof value === "string") this.#box[this.#at++] = typeof spec === "string" ? -1 : spec.indexOf(value);
    else {
      this.#box[this.#at++] = value.length;
      for (const n of value) this.#box[this.#at++] = n;
    }
  }

  read(place: number): number {
    return this.#box[place] as number;
  }
}
