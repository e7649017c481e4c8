// Each test file is a process of its own, and the instruction set is chosen at first use.
process.env.HUNYUAN_CPU_ISA = "portable";
const { declareSuites } = await import("./support/run-cases.js");
await declareSuites("cpu");
