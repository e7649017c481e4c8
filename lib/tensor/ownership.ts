/** The stack of open scopes, apart from scope.ts so that tensors can join the innermost one without a cycle. */
import type { Tensor } from "./tensor.js";

export interface Owner {
  adopt(tensor: Tensor): void;
  forget(tensor: Tensor): void;
}

const open: Owner[] = [];

export function pushOwner(owner: Owner): void {
  open.push(owner);
}

export function popOwner(owner: Owner): void {
  const at = open.lastIndexOf(owner);
  if (at >= 0) open.splice(at, 1);
}

/** The innermost open scope, or the one around `inside`. */
export function topOwner(inside?: Owner): Owner | undefined {
  return inside === undefined ? open[open.length - 1] : open[open.lastIndexOf(inside) - 1];
}
