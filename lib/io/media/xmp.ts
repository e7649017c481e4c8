/**
 * Metadata as an XMP packet (ISO 16684), which every picture format and mp4 can carry: IPTC's words for what others
 * read, and the same as JSON in a field of our own for reading back exactly.
 */
import {
  type FoundMetadata,
  isGenerated,
  type MediaMetadata,
  maxReadBytes,
  metadataJson,
  parseMetadata,
} from "./metadata.js";

const ownNamespace = "urn:hunyuan-native:generation:1#";
const ownField = "hunyuan:generation";
const packetId = "W5M0MpCehiHzreSzNTczkc9d";

/** Characters that XML 1.0 forbids: control characters, lone surrogates, two more. Tab and line ends are allowed. */
const notXml = /(?![\t\n\r])[\p{Cc}\p{Cs}\ufffe\uffff]/gu;

/** The packet of some metadata. */
export function toXmp(op: string, metadata: MediaMetadata): string {
  const { prompt, software, digitalSourceType } = metadata;
  const fields = [
    field("Iptc4xmpExt:DigitalSourceType", digitalSourceType),
    field("Iptc4xmpExt:AISystemUsed", software),
    field("Iptc4xmpExt:AIPromptInformation", prompt),
    field("xmp:CreatorTool", software),
    field(ownField, metadataJson(op, metadata)),
  ];
  return [
    `<?xpacket begin="\ufeff" id="${packetId}"?>`,
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">',
    '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"',
    ` xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:hunyuan="${ownNamespace}">`,
    ...fields.filter((line) => line !== ""),
    "</rdf:Description></rdf:RDF></x:xmpmeta>",
    '<?xpacket end="w"?>',
  ].join("\n");
}

function field(name: string, value: string | undefined): string {
  return value === undefined ? "" : `<${name}>${escapeXml(value)}</${name}>`;
}

function escapeXml(text: string): string {
  return text.replace(notXml, "\ufffd").replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

const entities: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

function unescapeXml(text: string): string {
  return text.replace(/&(?:#x([0-9a-f]{1,6})|#(\d{1,7})|(amp|lt|gt|quot|apos));/gi, (whole, hex, decimal, name) => {
    if (name !== undefined) return entities[String(name).toLowerCase()] ?? whole;
    const code = hex === undefined ? Number.parseInt(decimal, 10) : Number.parseInt(hex, 16);
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}

/**
 * What a packet says: all of it when it is ours, and of other writers' the source type, the prompt and the tool.
 * Undefined when it says none of these. Never throws, whatever the text.
 */
export function fromXmp(xmp: string): FoundMetadata | undefined {
  if (xmp.length > maxReadBytes) return undefined;
  const own = value(xmp, ownField);
  const parsed = own === undefined ? undefined : parseMetadata(own);
  if (parsed !== undefined) return parsed;
  const digitalSourceType = value(xmp, "Iptc4xmpExt:DigitalSourceType");
  const prompt = value(xmp, "Iptc4xmpExt:AIPromptInformation");
  const software = value(xmp, "xmp:CreatorTool");
  if (digitalSourceType === undefined && prompt === undefined && software === undefined) return undefined;
  return {
    ...(prompt === undefined ? {} : { prompt }),
    ...(software === undefined ? {} : { software }),
    ...(digitalSourceType === undefined ? {} : { digitalSourceType }),
    generated: isGenerated(digitalSourceType),
  };
}

/** A simple property: an element's text, the same with rdf:resource, or an attribute of the description. */
function value(xmp: string, name: string): string | undefined {
  const element = xmp.indexOf(`<${name}`);
  if (element >= 0) {
    const open = xmp.indexOf(">", element);
    if (open < 0) return undefined;
    const attributes = xmp.slice(element + name.length + 1, open);
    if (attributes.endsWith("/")) return attribute(attributes, "rdf:resource");
    const close = xmp.indexOf(`</${name}>`, open);
    return close < 0 ? undefined : unescapeXml(xmp.slice(open + 1, close));
  }
  return attribute(xmp, name);
}

function attribute(text: string, name: string): string | undefined {
  for (const quote of ['"', "'"]) {
    const from = text.indexOf(`${name}=${quote}`);
    if (from < 0) continue;
    const start = from + name.length + 2;
    const end = text.indexOf(quote, start);
    if (end >= 0) return unescapeXml(text.slice(start, end));
  }
  return undefined;
}
