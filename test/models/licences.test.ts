/** Whose terms weights come under: what is stated goes before what is known of the published ones, where these are too small to be it. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { inspectModel } from "../../lib/models/inspect.js";
import { licenceOf, licenceOfCard } from "../../lib/models/licences.js";
import { temporaryFolder, tinyFolder } from "../support/tiny-pipeline.js";

const folder = temporaryFolder();
const none = new Map<string, string>();
const parameters = { small: 3e6, published: 12_821_012_544 } as const;

async function cardWith(text: string) {
  writeFileSync(join(folder, "README.md"), text);
  return licenceOfCard(folder);
}

test("the card's licence: an identifier, a name where that is other, nothing without a head", async () => {
  const by = "the model's README.md";
  assert.equal(await cardWith("---\nlicense: apache-2.0\n---\n# A model"), { name: "apache-2.0", by });
  const named = "---\r\nlicense: other # see LICENSE\r\nlicense_name: 'tencent-hunyuan-community'\r\n---\r\n";
  assert.equal(await cardWith(named), { name: "tencent-hunyuan-community", by });
  assert.equal(await cardWith("---\nlicense: other\n---\n"), { name: "other", by });
  assert.is(await cardWith("# A model\n\nlicense: apache-2.0\n"), undefined);
  assert.is(await cardWith("---\ntags:\n  - license: mit\n---\n"), undefined);
  assert.is(await licenceOfCard(join(folder, "nowhere")), undefined);
});

test("the file before the card; the published terms wherever it could be those weights, or where nothing is stated", () => {
  const card = { name: "apache-2.0", by: "the model's README.md" };
  const small = { metadata: none, card, parameters: parameters.small };
  assert.is(licenceOf("transformer", small), "apache-2.0 (by the model's README.md)");
  const metadata = new Map([["modelspec.license", "mit"]]);
  assert.is(licenceOf("vae", { ...small, metadata }), "mit (by its metadata)");
  const large = licenceOf("transformer", { ...small, parameters: parameters.published }) ?? "";
  assert.match(large, /^apache-2\.0 \(by the model's README\.md\); Tencent .*, where these are the published weights$/);
  assert.match(licenceOf("transformer", { ...small, card: undefined }) ?? "", /^Tencent .*published weights$/);
  assert.match(
    licenceOf("lora", { ...small, metadata }) ?? "",
    /^mit \(by its metadata\); its author's terms.*Tencent/,
  );
  assert.is(licenceOf(undefined, { ...small, card: undefined }), undefined);
});

test("a model's folder with a card", async () => {
  const model = tinyFolder();
  writeFileSync(join(model, "README.md"), "---\nlicense: apache-2.0\n---\n");
  const { parts } = await inspectModel(model);
  for (const part of Object.values(parts)) assert.is(part?.licence, "apache-2.0 (by the model's README.md)");
});

test.run();
