// Identifiers, as `model/identifiers.py` writes them and `pages/presenting.py` shows them.

const WORDS: Record<string, string> = { datasetField: "column" };

export interface Name {
  kind: string;
  namespace: string;
  name: string;
  part: string;
  version: string;
}

export function parse(identifier: string): Name {
  const hash = identifier.indexOf("#");
  const head = hash < 0 ? identifier : identifier.slice(0, hash);
  const version = hash < 0 ? "" : identifier.slice(hash + 1);
  const colon = head.indexOf(":");
  const kind = head.slice(0, colon);
  const rest = head.slice(colon + 1).split(":");
  const parts = kind === "datasetField" || kind === "feature" || kind === "row" ? 2 : 1;
  const part = parts === 2 ? decode(rest.pop() ?? "") : "";
  const name = decode(rest.pop() ?? "");
  return { kind, namespace: decode(rest.join(":")), name, part, version: decode(version) };
}

function decode(text: string): string {
  // Most names have nothing to decode, and a graph asks for thousands.
  if (!text.includes("%")) return text;
  return text.replace(/%(25|23|3A)/g, (_, code: string) =>
    code === "25" ? "%" : code === "23" ? "#" : ":",
  );
}

// Characters that do not show, or turn the text around them, are written out.
export function visible(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}]/gu, (one) => {
    const code = (one.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0");
    return `⟨U+${code}⟩`;
  });
}

export function shortened(text: string, characters = 96): string {
  if (text.length <= characters && /^[\x20-\x7e]*$/.test(text)) return text;
  const shown = Array.from(visible(text));
  if (shown.length <= characters) return shown.join("");
  const head = Math.floor((characters * 2) / 3);
  return `${shown.slice(0, head).join("")}…${shown.slice(head + 1 - characters).join("")}`;
}

export function shortName(identifier: string): string {
  if (identifier.startsWith("restricted:")) return "hidden";
  const { name, part } = parse(identifier);
  return shortened(part ? `${base(name)}.${part}` : base(name));
}

// A path is called by its last segment; the whole stands in its title.
export function base(name: string): string {
  if (!name.includes("/")) return name;
  const last = name.replace(/\/+$/, "").split("/").pop();
  return name.includes("/") && last ? last : name;
}

export function kindWord(kind: string): string {
  return WORDS[kind] ?? kind;
}

export function nodeUrl(identifier: string, page = "node"): string {
  let text = encodeURIComponent(identifier.toWellFormed()).replaceAll("%3A", ":").replaceAll("%40", "@");
  if (text.endsWith(".json")) text = `${text.slice(0, -5)}%2Ejson`;
  if (/^\.+$/.test(text)) text = text.replaceAll(".", "%2E");
  return `/${page}/${text}`;
}
