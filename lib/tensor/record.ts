/** Writes one op call into the mailbox, the flat record that native/addon reads. */
import { headerDoubles, mailboxOf, tensorDoubles, writtenFlag } from "../runtime/mailbox.js";
import { dtypeCode } from "./dtype.js";
import type { AttrInput, AttrSpec, KernelView, OutputSpec } from "./op.js";
import { denseStrides } from "./shape.js";
import type { Tensor } from "./tensor.js";

export class RecordWriter {
  #box: Float64Array = new Float64Array(0);
  #at = 0;

  /** Starts a record; the counts bound its length. */
  begin(op: number, args: number, attrs: number, tensors: number, attrDoubles: number): void {
    this.#box = mailboxOf(headerDoubles + args + tensors * tensorDoubles + attrDoubles);
    this.#box[0] = op;
    this.#box[1] = 0;
    this.#box[2] = args;
    this.#box[3] = attrs;
    this.#at = headerDoubles;
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
    for (const n of view.shape) box[at++] = n;
    for (const n of view.strides) box[at++] = n;
    this.#at = at;
  }

  /** A fresh output; answers where its handle will stand. */
  output({ dtype, shape }: OutputSpec): number {
    const box = this.#box;
    const place = this.#at;
    let at = place;
    box[at++] = 0;
    box[at++] = writtenFlag;
    box[at++] = dtypeCode(dtype);
    box[at++] = 0;
    box[at++] = shape.length;
    for (const n of shape) box[at++] = n;
    for (const n of denseStrides(shape)) box[at++] = n;
    this.#at = at;
    return place;
  }

  /** One attribute; answers how many doubles it took. */
  attr(spec: AttrSpec, value: AttrInput): number {
    const start = this.#at;
    if (typeof value === "number") this.#box[this.#at++] = value;
    else if (typeof value === "boolean") this.#box[this.#at++] = value ? 1 : 0;
    else if (typeof value === "string") this.#box[this.#at++] = typeof spec === "string" ? -1 : spec.indexOf(value);
    else {
      this.#box[this.#at++] = value.length;
      for (const n of value) this.#box[this.#at++] = n;
    }
    return this.#at - start;
  }

  /** The number of attribute doubles is known once they are written. */
  setAttrDoubles(doubles: number): void {
    this.#box[3] = doubles;
  }

  read(place: number): number {
    return this.#box[place] as number;
  }
}
