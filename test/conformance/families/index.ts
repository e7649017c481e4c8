/** All families; the first that fits a case runs it. */
import { dit } from "./dit.js";
import { ditGrad } from "./dit-grad.js";
import { ditTrain } from "./dit-train.js";
import { endToEnd } from "./end-to-end.js";
import type { Family } from "./family.js";
import { flowTrain } from "./flow-train.js";
import { ops } from "./ops.js";
import { rngTorch } from "./rng-torch.js";
import { rope } from "./rope.js";
import { scheduler } from "./scheduler.js";
import { clip, llama } from "./text.js";
import { vae } from "./vae.js";
import { vaeGrad } from "./vae-grad.js";

export const families: readonly Family[] = [
  rngTorch,
  rope,
  scheduler,
  flowTrain,
  ditTrain,
  ditGrad,
  dit,
  endToEnd,
  vaeGrad,
  vae,
  llama,
  clip,
  ops,
];
