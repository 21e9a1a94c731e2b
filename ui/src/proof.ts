// Checks a proof here, from the log's own files: the server says what to check, never what came out.
//
// 1. What is disclosed of each entry gives the commitment in its leaf; a prediction is a row of the
//    batch whose root its leaf carries.
// 2. Each leaf is in the tree of the checkpoint.
// 3. The checkpoint is signed with the log's key.
// 4. Witnesses have cosigned it.
// 5. An authority has dated a checkpoint.
// 6. The tree extends the one that this browser saw last.

import { type Checkpoint, cosigned, isSigned, readCheckpoint, readKey } from "./proof/notes";
import {
  equal,
  type Hash,
  hex,
  leafHash,
  rootFromPath,
  rootsFromProof,
  sha256,
  Tiles,
  unhex,
} from "./proof/tree";

interface Field {
  pointer: string;
  salt?: string;
  value?: string;
  commitment?: string;
}
interface Disclosed {
  entries: { index: number; erased_by: number | null; fields: Field[] }[];
  row: { batch: number; leaf: number; size: number; line: string; salt: string; path: string[] } | null;
}
interface Data {
  id: string;
  log: {
    segment: string;
    origin: string;
    keys: string[];
    witnesses: { vkey: string }[];
    timestamps: { size: number; url: string; sha256: string }[];
  };
  entries: number[];
  total: number;
  disclosed: boolean;
  segment: string;
}
interface Seen {
  size: number;
  root: string;
  key: string;
  time: string;
}
type State = "verified" | "broken" | "could not check" | "none";
interface Outcome {
  state: State;
  note: string;
  input?: string;
  expected?: string;
  computed?: string;
}

const utf8 = new TextEncoder();
const grouped = new Intl.NumberFormat("en");
const count = (number: number, word: string, more = `${word}s`): string =>
  `${grouped.format(number)} ${number === 1 ? word : more}`;
const brief = (hash: Hash): string => hex(hash);

function show(step: string, outcome: Outcome): void {
  const place = document.querySelector<HTMLElement>(`[data-step="${step}"]`);
  if (!place) return;
  const set = (name: string, text: string): void => {
    const element = place.querySelector<HTMLElement>(`[data-${name}]`);
    if (element) element.textContent = text;
  };
  const state = place.querySelector<HTMLElement>("[data-state]");
  if (state) {
    state.textContent = outcome.state;
    state.className = `state s-${outcome.state.replaceAll(" ", "-")}`;
  }
  set("note", outcome.note);
  set("input", outcome.input ?? "—");
  set("expected", outcome.expected ?? "—");
  set("computed", outcome.computed ?? "—");
}

function conclude(state: State, why: string): void {
  const place = document.querySelector<HTMLElement>("[data-verdict]");
  const word = document.querySelector<HTMLElement>("[data-verdict-word]");
  const because = document.querySelector<HTMLElement>("[data-verdict-why]");
  if (!place || !word || !because) return;
  place.dataset.verdict = state;
  word.textContent = state;
  word.className = `state s-${state.replaceAll(" ", "-")}`;
  because.textContent = why;
}

async function fetched(url: string): Promise<Response> {
  const answer = await fetch(url, { cache: "no-cache", credentials: "same-origin" });
  if (!answer.ok) throw new Error(`${url.split("?")[0]} was answered with ${answer.status}`);
  return answer;
}

/** A step whose failure to run is "could not check", and says why. */
async function step(name: string, check: () => Promise<Outcome>): Promise<State> {
  let outcome: Outcome;
  try {
    outcome = await check();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    outcome = { state: "could not check", note: `Could not check: ${why}.` };
  }
  show(name, outcome);
  return outcome.state;
}

async function commitment(field: Field): Promise<Hash> {
  if (field.salt === undefined || field.value === undefined) return unhex(field.commitment ?? "");
  const pointer = utf8.encode(field.pointer);
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, pointer.length);
  return sha256(unhex(field.salt), length, pointer, utf8.encode(field.value));
}

async function checkDigests(data: Data, tiles: Tiles): Promise<Outcome> {
  if (!data.disclosed) {
    const note = "Your key sees a part of the record, so whole payloads are not shown to it.";
    return { state: "could not check", note };
  }
  const asked = new URLSearchParams({ entries: data.entries.join(",") });
  if (data.id.startsWith("prediction:")) asked.set("prediction", data.id);
  if (data.segment !== "default") asked.set("segment", data.segment);
  const told = (await (await fetched(`/proof-entries?${asked}`)).json()) as Disclosed;
  let [fields, erased] = [0, 0];
  let last: Outcome = { state: "verified", note: "" };
  for (const index of data.entries) {
    const entry = told.entries.find((one) => one.index === index);
    const leaf = JSON.parse(new TextDecoder().decode(await tiles.leaf(index))) as {
      commitment: string;
    };
    if (!entry) throw new Error(`entry ${index} was not disclosed`);
    if (entry.fields.length === 0 && entry.erased_by !== null) {
      erased += 1;
      continue;
    }
    const computed = hex(await sha256(...(await Promise.all(entry.fields.map(commitment)))));
    fields += entry.fields.length;
    last = {
      state: computed === leaf.commitment ? "verified" : "broken",
      note: "",
      input: `entry ${index}: ${count(entry.fields.length, "field")}`,
      expected: leaf.commitment,
      computed,
    };
    if (last.state === "broken") {
      return { ...last, note: `What is stored as entry ${index} is not what its leaf commits to.` };
    }
  }
  if (data.id.startsWith("prediction:")) {
    const row = await checkRow(told.row, tiles);
    if (row.state !== "verified") return row;
  }
  const more = erased ? `, ${count(erased, "entry", "entries")} erased` : "";
  const note = `${count(fields, "field")} of ${count(data.entries.length, "entry", "entries")}${more}.`;
  return { ...last, note };
}

async function checkRow(row: Disclosed["row"], tiles: Tiles): Promise<Outcome> {
  if (!row) return { state: "could not check", note: "The prediction's record is not at hand." };
  const salted = await commitment({ pointer: "", salt: row.salt, value: row.line });
  const root = await rootFromPath(await leafHash(salted), row.leaf, row.size, row.path.map(unhex));
  const leaf = JSON.parse(new TextDecoder().decode(await tiles.leaf(row.batch))) as {
    roots: string[];
  };
  const holds = leaf.roots.includes(hex(root));
  return {
    state: holds ? "verified" : "broken",
    note: holds ? "" : "The prediction's record is not a row of the batch that the log holds.",
    input: `row ${row.leaf} of the batch in entry ${row.batch}`,
    expected: leaf.roots.join(" "),
    computed: hex(root),
  };
}

async function checkInclusion(data: Data, tiles: Tiles, checkpoint: Checkpoint): Promise<Outcome> {
  let last: Outcome = { state: "could not check", note: "No entry is named." };
  for (const index of data.entries) {
    const leaf = await leafHash(await tiles.leaf(index));
    const path = await tiles.path(index);
    const root = await rootFromPath(leaf, index, checkpoint.size, path);
    const holds = equal(root, checkpoint.root);
    last = {
      state: holds ? "verified" : "broken",
      note: holds
        ? `${count(data.entries.length, "leaf", "leaves")} in a tree of ${grouped.format(checkpoint.size)}.`
        : `Leaf ${index} does not lead to the root that the checkpoint signs.`,
      input: `leaf ${index}, ${brief(leaf)}, with ${count(path.length, "sibling")}`,
      expected: brief(checkpoint.root),
      computed: brief(root),
    };
    if (!holds) return last;
  }
  return last;
}

async function checkSignature(data: Data, checkpoint: Checkpoint, seen?: Seen): Promise<Outcome> {
  for (const vkey of data.log.keys) {
    const key = await readKey(vkey);
    if (key.type !== 1 || key.name !== checkpoint.origin) continue;
    const signed = await isSigned(checkpoint, key);
    if (signed === undefined) continue;
    const other = signed && seen && seen.key !== vkey;
    return {
      state: signed ? "verified" : "broken",
      note: !signed
        ? "The signature is not by the key that the page names."
        : other
          ? `By another key than on ${seen.time.slice(0, 10)}: ask the operator whether it was renewed.`
          : `By ${checkpoint.origin}. The key came with this page: compare it with one that you got another way.`,
      input: `checkpoint of ${grouped.format(checkpoint.size)} entries`,
      expected: vkey,
      computed: signed ? "Ed25519 holds" : "Ed25519 does not hold",
    };
  }
  return { state: "broken", note: "None of the log's keys has signed the checkpoint." };
}

async function checkWitnesses(data: Data, checkpoint: Checkpoint): Promise<Outcome> {
  const held: string[] = [];
  for (const { vkey } of data.log.witnesses) {
    const key = await readKey(vkey);
    const time = await cosigned(checkpoint, key);
    if (time === null) {
      return {
        state: "broken",
        note: `The cosignature of ${key.name} does not hold.`,
        expected: vkey,
        computed: "Ed25519 does not hold",
      };
    }
    if (time) held.push(`${key.name} at ${time.toISOString()}`);
  }
  if (!held.length) {
    return { state: "none", note: "Nobody but the log has signed: whoever holds its key is believed." };
  }
  return {
    state: "verified",
    note: `${count(held.length, "witness", "witnesses")}: ${held.join(", ")}.`,
    expected: data.log.witnesses.map(({ vkey }) => vkey).join(" "),
    computed: "Ed25519 holds",
  };
}

function checkTimestamp(data: Data): Promise<Outcome> {
  const [first] = data.log.timestamps;
  if (!first) {
    return Promise.resolve({ state: "none", note: "No authority has dated a checkpoint." });
  }
  return Promise.resolve({
    state: "could not check",
    note: `${count(data.log.timestamps.length, "answer")} over the checkpoint of ${grouped.format(first.size)} entries: named here and not verified, since that takes the authority's certificates. The command below does it.`,
    input: first.url,
    expected: `TimeStampResp ${first.sha256}`,
  });
}

async function checkConsistency(
  tiles: Tiles,
  checkpoint: Checkpoint,
  seen?: Seen,
): Promise<Outcome> {
  const now = `${grouped.format(checkpoint.size)} entries`;
  if (!seen) return { state: "none", note: `This is the first visit; ${now} are kept for the next.` };
  const told = { input: `${grouped.format(seen.size)} entries on ${seen.time}`, expected: seen.root };
  if (seen.size > checkpoint.size) {
    const note = `It had ${grouped.format(seen.size)} entries then, and has ${now} now: it was cut.`;
    return { ...told, state: "broken", note, computed: now };
  }
  if (seen.size === checkpoint.size) {
    const same = hex(checkpoint.root) === seen.root;
    const note = same ? "Nothing came since." : "As many entries as then, and not the same ones.";
    return { ...told, state: same ? "verified" : "broken", note, computed: hex(checkpoint.root) };
  }
  const proof = await tiles.consistency(seen.size);
  const roots = await rootsFromProof(seen.size, checkpoint.size, unhex(seen.root), proof);
  const holds = hex(roots[0]) === seen.root && equal(roots[1], checkpoint.root);
  return {
    ...told,
    state: holds ? "verified" : "broken",
    note: holds
      ? `It has grown by ${grouped.format(checkpoint.size - seen.size)} and holds what it held.`
      : "What this browser saw then is no longer the beginning of the log.",
    computed: hex(roots[0]),
  };
}

function remembered(place: string): Seen | undefined {
  try {
    const text = localStorage.getItem(place);
    return text ? (JSON.parse(text) as Seen) : undefined;
  } catch {
    return undefined;
  }
}

async function check(data: Data): Promise<void> {
  const base = `/log/${data.log.segment}/`;
  const note = await (await fetched(`${base}checkpoint`)).text();
  const checkpoint = readCheckpoint(note);
  const place = `lodeline.checkpoint.${checkpoint.origin}`;
  const seen = remembered(place);
  const tiles = new Tiles(checkpoint.size, async (path) => {
    return new Uint8Array(await (await fetched(base + path)).arrayBuffer());
  });
  const needed = [
    await step("digest", () => checkDigests(data, tiles)),
    await step("inclusion", () => checkInclusion(data, tiles, checkpoint)),
    await step("signature", () => checkSignature(data, checkpoint, seen)),
  ];
  const witness = await step("witness", () => checkWitnesses(data, checkpoint));
  await step("timestamp", () => checkTimestamp(data));
  const consistency = await step("consistency", () => checkConsistency(tiles, checkpoint, seen));
  const states = [...needed, witness, consistency];
  if (states.includes("broken")) {
    conclude("broken", "A step below does not hold. Keep this page, and ask whoever runs the log.");
    return;
  }
  if ([...needed, consistency].includes("could not check")) {
    conclude("could not check", "Not every step could be checked here; those below say why.");
    return;
  }
  const [key = ""] = data.log.keys;
  const now: Seen = {
    size: checkpoint.size,
    root: hex(checkpoint.root),
    key,
    time: new Date().toISOString(),
  };
  try {
    localStorage.setItem(place, JSON.stringify(now));
  } catch {
    // A browser that keeps nothing compares nothing at the next visit.
  }
  const entries = count(data.entries.length, "entry", "entries");
  const part = data.entries.length < data.total ? ` of ${grouped.format(data.total)}` : "";
  const trust = witness === "verified" ? "with witnesses" : "on the word of the log's own key";
  conclude("verified", `${entries}${part} checked in this browser, ${trust}.`);
}

async function main(): Promise<void> {
  const print = document.querySelector<HTMLButtonElement>("[data-print]");
  if (print) {
    print.hidden = false;
    print.addEventListener("click", () => window.print());
  }
  const text = document.querySelector("#proof-data")?.textContent;
  if (!text) return;
  if (!globalThis.crypto?.subtle) {
    const why = "This browser offers no cryptography on plain HTTP; the command checks the same.";
    conclude("could not check", why);
    return;
  }
  conclude("could not check", "Checking…");
  try {
    await check(JSON.parse(text) as Data);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    conclude("could not check", `Could not check: ${why}.`);
  }
}

void main().finally(() => {
  document.documentElement.dataset.proof = "done";
});
