/** The tensor: a handle to storage on a device, with a type, a shape and strides. Ops are functions (lib/ops). */
import { inspect } from "node:util";
import { binding } from "../runtime/binding.js";
import { checkOptions } from "../runtime/check.js";
import { type Device, type WaitOptions, waitFor } from "../runtime/device.js";
import { HunyuanError } from "../runtime/errors.js";
import { statusToError } from "../runtime/failures.js";
import { bytesOf, type DType, type HostArrays, hostArray, hostDType } from "./dtype.js";
import { type Owner, topOwner } from "./ownership.js";
import { denseStrides, isDense, type Shape, showShape, sizeOf } from "./shape.js";
import { closeLeaf, type GradNode, type Leaf, releaseNode, retainNode } from "./tape.js";

/** What the finalizer of a forgotten tensor still knows of it. */
interface Remains {
  readonly handle: number;
  readonly device: Device;
  node: GradNode | undefined;
}

/** A net for tensors that belong to no scope and were never disposed of; each catch is counted. */
const forgotten = new FinalizationRegistry<Remains>((remains) => {
  if (remains.device.disposed) return;
  remains.device.forgotten++;
  binding().release(remains.handle);
  if (remains.node !== undefined) releaseNode(remains.node);
});

/** Where in its storage a view lies. */
export interface ViewGeometry {
  readonly shape: Shape;
  /** In elements; the last one is 1. */
  readonly strides: readonly number[];
  /** In elements from the start of the storage. */
  readonly offset: number;
}

export class Tensor<D extends DType = DType> implements Disposable {
  readonly device: Device;
  readonly dtype: D;
  readonly shape: Shape;
  /** In elements; the innermost axis is always dense. */
  readonly strides: readonly number[];
  readonly offset: number;
  /** Slot and generation of the native handle table. */
  readonly handle: number;
  /** Set by requiresGrad(): gradients gather here. */
  leaf: Leaf | undefined;
  #node: GradNode | undefined;
  #output = 0;
  #owner: Owner | undefined;
  #remains: Remains | undefined;
  #disposed = false;

  /** Tensors come from ops and from `tensor()`; this is for them. */
  constructor(device: Device, handle: number, dtype: D, geometry: ViewGeometry, owner = topOwner()) {
    this.device = device;
    this.handle = handle;
    this.dtype = dtype;
    this.shape = geometry.shape;
    this.strides = geometry.strides;
    this.offset = geometry.offset;
    this.moveTo(owner);
  }

  /** Number of elements. */
  get size(): number {
    return sizeOf(this.shape);
  }

  get rank(): number {
    return this.shape.length;
  }

  /** Bytes that the elements take (a view counts only its own). */
  get bytes(): number {
    return bytesOf(this.dtype, this.size);
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  get isDense(): boolean {
    return isDense(this.shape, this.strides);
  }

  /** The op that made this tensor, when gradients are recorded. */
  get node(): GradNode | undefined {
    return this.#node;
  }

  /** Which of the node's outputs this tensor is. */
  get nodeOutput(): number {
    return this.#output;
  }

  /** True when gradients flow to or through this tensor. */
  get requiresGrad(): boolean {
    return this.leaf !== undefined || this.#node !== undefined;
  }

  /** The gradient that `backward()` gathered in this leaf; owned by the leaf. */
  get grad(): Tensor | undefined {
    return this.leaf?.grad;
  }

  attachNode(node: GradNode, output: number): void {
    retainNode(node);
    this.#node = node;
    this.#output = output;
    if (this.#remains !== undefined) this.#remains.node = node;
  }

  /** Another tensor on the same storage; it lives on when this one is disposed of. Carries no gradient by itself. */
  viewAs(geometry: ViewGeometry, owner = topOwner()): Tensor<D> {
    const handle = binding().alias(this.handle);
    if (handle <= 0) throw statusToError(handle, "view", this.device.name);
    return new Tensor(this.device, handle, this.dtype, geometry, owner);
  }

  /** A second tensor with the same elements, detached from gradients. */
  alias(owner = topOwner()): Tensor<D> {
    return this.viewAs(this, owner);
  }

  /** Passes the tensor to another owner; undefined leaves it to the caller, with the garbage collector as a net. */
  moveTo(owner: Owner | undefined): void {
    this.#owner?.forget(this);
    if (this.#remains !== undefined) {
      forgotten.unregister(this);
      this.#remains = undefined;
    }
    this.#owner = owner;
    if (owner !== undefined) owner.adopt(this);
    else {
      this.#remains = { handle: this.handle, device: this.device, node: this.#node };
      forgotten.register(this, this.#remains, this);
    }
  }

  /**
   * Gives the memory back once the ops queued before have run. A second call does nothing; any other use afterwards
   * throws DISPOSED.
   */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    if (this.#remains !== undefined) forgotten.unregister(this);
    this.#owner?.forget(this);
    this.#owner = undefined;
    closeLeaf(this.leaf);
    this.leaf = undefined;
    if (this.#node !== undefined) releaseNode(this.#node);
    this.#node = undefined;
    if (!this.device.disposed) binding().release(this.handle);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /**
   * The elements, in order, as a typed array: f32, f16 and bf16 as Float32Array, f64 as Float64Array, i32 as
   * Int32Array, i64 as BigInt64Array, u8 and bool as Uint8Array.
   *
   * @throws the error of the op that failed on the way to this tensor, whichever op that was.
   * @throws ABORTED when the signal fires: the queued ops that lead to this tensor, and that no other queued work needs, are dropped.
   */
  async read(options: WaitOptions = {}): Promise<HostArrays[D]> {
    checkOptions("read", options);
    if (this.#disposed) throw disposedError("read");
    // f16, bf16 and f8 widen on the device: JavaScript has no arrays for them, and the event loop no time.
    const as = hostDType(this.dtype);
    const dense = this.isDense && as === this.dtype ? this : Tensor.toDense(this, as);
    try {
      const bytes = hostBytes(dense.bytes);
      const start = bytesOf(as, dense.offset);
      await waitFor(this.device, "read", () => binding().download(this.device.id, dense.handle, start, bytes), options);
      return hostArray(this.dtype, bytes);
    } finally {
      if (dense !== this) dense.dispose();
    }
  }

  /**
   * Copies into a dense tensor of the given type that belongs to no scope. Set by lib/ops/layout.ts, since reading is
   * the one thing that a tensor cannot do without an op.
   */
  static toDense: (from: Tensor, dtype: DType) => Tensor = (from) => {
    throw new HunyuanError("INVALID_ARGUMENT", `read: no copy op is loaded for ${from}`, { op: "read" });
  };

  /** The single element of a tensor of size 1, as a number. */
  async item(options: WaitOptions = {}): Promise<number> {
    if (this.#disposed) throw disposedError("item");
    if (this.size !== 1) {
      throw new HunyuanError("SHAPE_MISMATCH", `item: expected one element, got ${showShape(this.shape)}`, {
        op: "item",
        shapes: [this.shape],
      });
    }
    return Number((await this.read(options))[0]);
  }

  toString(): string {
    const marks = [
      this.isDense ? "" : " view",
      this.leaf !== undefined ? " requiresGrad" : this.#node !== undefined ? ` by ${this.#node.name}` : "",
      this.#disposed ? " disposed" : "",
    ];
    return `Tensor<${this.dtype}> ${showShape(this.shape)} on ${this.device.name}${marks.join("")}`;
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

/** A dense tensor for a handle that native code has just made. */
export function denseTensor<D extends DType>(device: Device, handle: number, dtype: D, shape: Shape): Tensor<D> {
  return new Tensor(device, handle, dtype, { shape, strides: denseStrides(shape), offset: 0 });
}

/** JavaScript's own memory has limits too (about 8 GiB a buffer). */
function hostBytes(bytes: number): ArrayBuffer {
  try {
    return new ArrayBuffer(bytes);
  } catch (cause) {
    throw new HunyuanError(
      "OUT_OF_MEMORY",
      `read: no array of ${bytes} bytes can be made; read slices`,
      { op: "read" },
      { cause },
    );
  }
}

export function disposedError(op: string, argument?: string): HunyuanError<"DISPOSED"> {
  const what = argument === undefined ? "the tensor" : argument;
  return new HunyuanError("DISPOSED", `${op}: ${what} has been disposed of`, {
    op,
    ...(argument === undefined ? {} : { argument }),
  });
}
