// The CUDA kernels, executed on the CPU by native/simt. HUNYUAN_SIMT_SEED sets the order of threads.
process.env.HUNYUAN_GUARD = "1";
const { declareSuites } = await import("./support/run-cases.js");
await declareSuites("simt");
