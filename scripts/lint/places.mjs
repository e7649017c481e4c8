// Things that may stand in one place only, or nowhere.
import { isCode, isGenerated, isNative, isTypeScript, matches, read, sources, withoutComments } from "./sources.mjs";

const MAX_LINES = 400;

export function checkPlaces() {
  const problems = [];
  const files = sources(isCode);
  for (const file of files) {
    const text = read(file);
    const lines = text.split("\n").length - (text.endsWith("\n") ? 1 : 0);
    if (lines > MAX_LINES && !isGenerated(file)) problems.push(`${file}: ${lines} lines, more than ${MAX_LINES}`);

    const code = withoutComments(text, { strings: true });
    if (isNative(file)) {
      if (!/^native\/cuda\/device\/ptx\w*\.cuh$/.test(file)) {
        const message = "assembly belongs in native/cuda/device/ptx*.cuh";
        problems.push(...matches(file, code, /\b(asm|__asm|__asm__)\b/g, message));
      }
      problems.push(...matches(file, code, /<{3}/g, "launches go through HN_LAUNCH"));
    }
    if (file.startsWith("lib/") && isTypeScript(file)) {
      problems.push(...matches(file, code, /(?:[:<,|&(]\s*|\bas\s+)any\b(?!\s*:)/g, "no any"));
      problems.push(...matches(file, code, /\bas\s+unknown\s+as\b/g, "no cast through unknown"));
    }
  }
  return { problems, note: `${files.length} files` };
}
