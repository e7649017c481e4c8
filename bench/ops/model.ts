/** Whole models, or large parts of them. */
import type { BenchCase } from "../case.js";
import { ditCases } from "../models/dit.js";
import { vaeCases } from "../models/vae.js";

export const cases: readonly BenchCase[] = [...ditCases, ...vaeCases];
