/** Whole models, or large parts of them. */
import type { BenchCase } from "../case.js";
import { ditCases } from "../models/dit.js";
import { ditGuidanceCases } from "../models/dit-guidance.js";
import { vaeCases } from "../models/vae.js";

export const cases: readonly BenchCase[] = [...ditCases, ...ditGuidanceCases, ...vaeCases];
