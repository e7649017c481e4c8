/**
 * Makes a small video in a process of its own: `generate-child.ts MODEL LATENTS [kill]`. With `kill` the process kills
 * itself when the first tile has been decoded.
 */
import { loadTiny, smallRequest } from "./tiny-pipeline.js";

const [, , folder = "", latentsPath = "", kill] = process.argv;
const model = await loadTiny(folder);
if (kill === "kill") {
  // Two tiles, so that there is a time between them.
  const request = { ...smallRequest, width: 288, tiling: "hunyuan" } as const;
  await model.generate(request, {
    onProgress: ({ stage, step }) => {
      if (stage === "decode" && step === 1) process.kill(process.pid, "SIGKILL");
    },
  });
} else {
  await model.generate({ ...smallRequest, latentsPath });
  await model.dispose();
}
