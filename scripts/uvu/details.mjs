/** The loader hook of register.mjs. */
const READS_DETAILS = "let { details, operator='' } = err;";
const PRINTED = `${READS_DETAILS}
	if (details && typeof details !== 'string') details = inspect(details);`;

export async function load(url, context, next) {
  const loaded = await next(url, context);
  if (!url.endsWith("/uvu/dist/index.mjs")) return loaded;
  const source = String(loaded.source);
  if (!source.includes(READS_DETAILS)) throw new Error(`${url}: uvu has changed, so scripts/uvu must too`);
  return { ...loaded, source: `import { inspect } from "node:util";\n${source.replace(READS_DETAILS, PRINTED)}` };
}
