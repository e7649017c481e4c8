/** Parameters that are looked at and not trained. */
import { Params, ResidentStore } from "../../nn/params.js";

/**
 * The same parameters as no leaves: what is computed with them is not recorded for their sake. They see every step made on
 * the originals. Dispose of them before those.
 */
export function frozenParams(params: Params): Params {
  return new Params(new ResidentStore([...params.names()].map((name) => [name, params.get(name).alias()] as const)));
}
