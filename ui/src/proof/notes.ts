// Signed notes and cosignatures (C2SP signed-note, tlog-checkpoint, tlog-cosignature), Ed25519.

import { equal, sha256 } from "./tree";

export interface Signature {
  name: string;
  id: Uint8Array;
  bytes: Uint8Array;
}

export interface Checkpoint {
  text: string;
  origin: string;
  size: number;
  root: Uint8Array;
  signatures: Signature[];
}

const utf8 = new TextEncoder();

export const unbase64 = (text: string): Uint8Array =>
  Uint8Array.from(atob(text), (one) => one.charCodeAt(0));

export function readCheckpoint(note: string): Checkpoint {
  const end = note.lastIndexOf("\n\n");
  if (end < 0) throw new Error("the checkpoint is no signed note");
  const text = note.slice(0, end + 1);
  const [origin, size, root] = text.split("\n");
  if (!origin || !size || !root || !/^(0|[1-9][0-9]{0,15})$/.test(size)) {
    throw new Error("the checkpoint is not as C2SP tlog-checkpoint says");
  }
  const signatures = note
    .slice(end + 2)
    .split("\n")
    .filter(Boolean)
    .map((line) => {
      const match = /^— (\S+) (\S+)$/.exec(line);
      if (!match) throw new Error("a signature line is malformed");
      const bytes = unbase64(match[2] ?? "");
      return { name: match[1] ?? "", id: bytes.slice(0, 4), bytes: bytes.slice(4) };
    });
  return { text, origin, size: Number(size), root: unbase64(root), signatures };
}

/** A key as `name+id+base64`: of a log (type 1) or a witness (type 4). */
export interface Key {
  name: string;
  id: Uint8Array;
  type: number;
  public: Uint8Array;
}

export async function readKey(vkey: string): Promise<Key> {
  const match = /^([^+\s]+)\+([0-9a-f]{8})\+(\S+)$/.exec(vkey);
  if (!match) throw new Error("a key is malformed");
  const name = match[1] ?? "";
  const body = unbase64(match[3] ?? "");
  if (body.length !== 33) throw new Error("a key is not Ed25519");
  const id = (await sha256(utf8.encode(`${name}\n`), body)).slice(0, 4);
  return { name, id, type: body[0] ?? 0, public: body.slice(1) };
}

const signatureOf = (checkpoint: Checkpoint, key: Key): Signature | undefined =>
  checkpoint.signatures.find((one) => one.name === key.name && equal(one.id, key.id));

async function verify(key: Key, signature: Uint8Array, message: Uint8Array): Promise<boolean> {
  const format = "raw";
  const made = await crypto.subtle.importKey(format, key.public as BufferSource, "Ed25519", false, [
    "verify",
  ]);
  const [bytes, said] = [signature as BufferSource, message as BufferSource];
  return crypto.subtle.verify("Ed25519", made, bytes, said);
}

/** Whether a log's key signed a checkpoint; undefined where it does not claim to. */
export async function isSigned(checkpoint: Checkpoint, key: Key): Promise<boolean | undefined> {
  const signature = signatureOf(checkpoint, key);
  return signature && verify(key, signature.bytes, utf8.encode(checkpoint.text));
}

/** When a witness cosigned; undefined where it did not, null where its signature does not hold. */
export async function cosigned(checkpoint: Checkpoint, key: Key): Promise<Date | null | undefined> {
  const signature = signatureOf(checkpoint, key);
  if (!signature) return undefined;
  if (signature.bytes.length !== 72) return null;
  const view = new DataView(signature.bytes.buffer, signature.bytes.byteOffset, 8);
  const time = view.getBigUint64(0);
  const message = utf8.encode(`cosignature/v1\ntime ${time}\n${checkpoint.text}`);
  if (!(await verify(key, signature.bytes.slice(8), message))) return null;
  return new Date(Number(time) * 1000);
}
