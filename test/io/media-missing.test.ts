/** A machine with neither node-av nor ffmpeg: gif, webp and pictures work; mp4 and webm say what to install. */
import { spawnSync } from "node:child_process";
import { readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { temporaryFolder } from "../support/media.js";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const folder = temporaryFolder();

/** Makes node-av as absent as if it had not been installed. */
const absent = `
  export async function resolve(specifier, context, next) {
    if (!/^node-av(\\/|$)/.test(specifier)) return next(specifier, context);
    const error = new Error("Cannot find package 'node-av'");
    error.code = "ERR_MODULE_NOT_FOUND";
    throw error;
  }`;
const hide = `
  import { register } from "node:module";
  register("data:text/javascript," + encodeURIComponent(${JSON.stringify(absent)}));`;

const job = `
  import * as media from ${JSON.stringify(join(root, "lib/io/media/index.ts"))};
  const [, , folder] = process.argv;
  const frames = [255, 0].map((value) => new Uint8Array(16 * 16 * 3).fill(value));
  const source = media.frameSource(frames, { width: 16, height: 16, fps: 10 });
  const answer = async (promise) => {
    try {
      await promise;
      return "done";
    } catch ({ code, message }) {
      return { code, message };
    }
  };
  const found = await media.findVideoBackend();
  const answers = { backend: found.backend?.name ?? found.missing };
  for (const name of ["a.gif", "a.webp", "a.mp4", "a.webm", "frames"]) {
    answers[name] = await answer(media.writeVideo(folder + "/" + name, source));
  }
  answers.check = await answer(media.checkEncoder("x.mp4"));
  answers.checkGif = await answer(media.checkEncoder("x.gif"));
  answers.buffer = await answer(media.encodeVideo(source, { format: "mp4" }));
  answers.read = await answer(media.readVideo(folder + "/given.mp4"));
  answers.count = (await media.readVideo(folder + "/a.webp")).numFrames;
  answers.metadata = (await media.readMetadata(folder + "/a.gif")).generated;
  process.stdout.write(JSON.stringify(answers));`;

interface Refused {
  readonly code: string;
  readonly message: string;
}

function runWithout(path: string): Record<string, string | number | boolean | Refused> {
  const file = join(folder, "job.mts");
  writeFileSync(file, job);
  const loader = `data:text/javascript,${encodeURIComponent(hide)}`;
  const tsx = import.meta.resolve("tsx");
  const { status, stdout, stderr } = spawnSync(process.execPath, ["--import", loader, "--import", tsx, file, folder], {
    encoding: "utf8",
    cwd: root,
    env: { PATH: path, HOME: folder, TMPDIR: folder },
  });
  if (status !== 0) throw new Error(`the child ended with ${status}: ${stderr}`);
  return JSON.parse(stdout);
}

test("without node-av and ffmpeg", () => {
  // An mp4 that is whole as far as its boxes go: it takes a decoder to say more.
  writeFileSync(
    join(folder, "given.mp4"),
    Buffer.from("00000010667479706973 6f6d0000020000000008 6d6f6f76".replaceAll(" ", ""), "hex"),
  );
  const answers = runWithout(join(folder, "nothing-here"));
  assert.match(String(answers.backend), /node-av: Cannot find package.*ffmpeg: .*ENOENT/);
  for (const name of ["a.gif", "a.webp", "frames", "checkGif"]) assert.is(answers[name], "done", name);
  assert.is(answers.count, 2);
  assert.is(answers.metadata, true);
  for (const name of ["a.mp4", "a.webm", "check", "buffer"]) {
    const { code, message } = answers[name] as Refused;
    assert.is(code, "ENCODER_MISSING", name);
    assert.match(message, /npm install node-av/);
    assert.match(message, /ffmpeg on the PATH/);
  }
  const { code, message } = answers.read as Refused;
  assert.is(code, "DECODER_MISSING");
  assert.match(message, /npm install node-av/);
  assert.equal(
    readdirSync(folder)
      .filter((name) => !name.startsWith("tsx-"))
      .sort(),
    ["a.gif", "a.webp", "frames", "given.mp4", "job.mts"],
  );
});

test.run();
