/**
 * Scopes own the tensors born in them. `scope(fn)` disposes of all but what fn returns; `using s = scope()` of all but
 * what `s.keep` took out. Scopes are synchronous: a tensor that must survive an await is returned or kept first.
 */
import { checkFunction } from "../runtime/check.js";
import { HunyuanError } from "../runtime/errors.js";
import { checkTensor } from "./check.js";
import { type Owner, popOwner, pushOwner, topOwner } from "./ownership.js";
import { Tensor } from "./tensor.js";

const acrossAwait = () =>
  new HunyuanError(
    "SCOPE_ACROSS_AWAIT",
    "a scope was still open when its code awaited. Scopes are synchronous: close the scope before the await, and keep() " +
      "or return what must live longer",
    {},
  );

export class Scope implements Owner, Disposable {
  readonly #born = new Set<Tensor>();
  #state: "open" | "closed" | "stale" = "open";

  constructor() {
    pushOwner(this);
  }

  adopt(tensor: Tensor): void {
    this.#born.add(tensor);
  }

  forget(tensor: Tensor): void {
    // A scope that closes clears its list as a whole.
    if (this.#state === "open") this.#born.delete(tensor);
  }

  /** Whether the tensor was born here and has not been kept or disposed of. */
  owns(tensor: Tensor): boolean {
    return this.#born.has(tensor);
  }

  /** Hands a tensor of this scope to the scope around it (or to nobody: then dispose of it yourself). */
  keep<T extends Tensor>(tensor: T): T {
    if (this.#state === "stale") throw acrossAwait();
    checkTensor("keep", "tensor", tensor);
    if (this.#born.has(tensor)) tensor.moveTo(this.#outer());
    return tensor;
  }

  /** Disposes of what was born here and not kept. */
  [Symbol.dispose](): void {
    if (this.#state === "stale") throw acrossAwait();
    if (this.#state === "closed") return;
    this.#close("closed");
  }

  /** Closes a scope that was found open when the microtask queue ran. */
  expire(): void {
    if (this.#state === "open") this.#close("stale");
  }

  #outer(): Owner | undefined {
    return topOwner(this);
  }

  #close(state: "closed" | "stale"): void {
    this.#state = state;
    popOwner(this);
    for (const tensor of this.#born) tensor.dispose();
    this.#born.clear();
  }
}

/**
 * With a function: runs it and disposes of every tensor born inside but those in its result (a tensor, or arrays and
 * plain objects of them). Without: opens a scope for `using`.
 *
 * @throws SCOPE_ACROSS_AWAIT when fn returns a promise, or a `using` scope is still open after an await.
 * @example const y = scope(() => add(mul(x, 2), 1)); // the product is gone, y is not
 */
export function scope(): Scope;
export function scope<T>(fn: (scope: Scope) => T): T;
export function scope<T>(fn?: (scope: Scope) => T): T | Scope {
  if (fn !== undefined) checkFunction("scope", "fn", fn);
  const opened = new Scope();
  if (fn === undefined) {
    queueMicrotask(() => opened.expire());
    return opened;
  }
  try {
    const result = fn(opened);
    if (isThenable(result)) throw acrossAwait();
    keepAll(opened, result);
    return result;
  } finally {
    opened[Symbol.dispose]();
  }
}

function isThenable(value: unknown): boolean {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}

function keepAll(scope: Scope, result: unknown): void {
  if (result instanceof Tensor) {
    if (scope.owns(result)) scope.keep(result);
    return;
  }
  // A list to work off, and each container once: results may be deep, and may contain themselves.
  const found = new Set([result]);
  for (const value of found) {
    if (value instanceof Tensor) {
      if (scope.owns(value)) scope.keep(value);
    } else if (Array.isArray(value)) {
      for (const item of value) if (typeof item === "object") found.add(item);
    } else if (typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype) {
      for (const item of Object.values(value)) if (typeof item === "object") found.add(item);
    }
  }
}
