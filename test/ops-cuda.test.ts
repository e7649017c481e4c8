// The CUDA kernels on a GPU. Without one they are skipped, unless HUNYUAN_TEST_DEVICES asks for cuda. The host cannot look
// at guard zones there: compute-sanitizer does (bench/gpu/run.sh).
delete process.env.HUNYUAN_GUARD;
const { suite } = await import("uvu");
const { describeBackends } = await import("../lib/tensor.js");
const { declareSuites } = await import("./support/run-cases.js");

const here = describeBackends().find(({ name }) => name === "cuda");
const asked = process.env.HUNYUAN_TEST_DEVICES?.split(",").includes("cuda") ?? false;
if (asked || (here !== undefined && here.devices > 0)) await declareSuites("cuda");
else {
  const test = suite("cuda");
  test.skip(`every op case: ${here === undefined || here.reason === "" ? "no cuda device" : here.reason}`);
  test.run();
}
