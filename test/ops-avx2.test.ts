// Each test file is a process of its own; the instruction set is chosen at first use, guard zones when a device opens.
process.env.HUNYUAN_CPU_ISA = "avx2";
process.env.HUNYUAN_GUARD = "1";
const { declareSuites } = await import("./support/run-cases.js");
await declareSuites("cpu");
