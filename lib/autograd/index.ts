export { type BackwardOptions, backward, detach, grad, noGrad, requiresGrad } from "./backward.js";
export { checkpoint } from "./checkpoint.js";
