/** Training steps of whole models. */
import type { BenchCase } from "../case.js";
import { ditTrainingCases } from "../models/dit-training.js";

export const cases: readonly BenchCase[] = ditTrainingCases;
