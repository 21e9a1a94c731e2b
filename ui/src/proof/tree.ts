// The tree of the log, read from its tiles and computed here: RFC 9162 over C2SP tlog-tiles.
// Numbers stay below 2^53, so shifts are divisions.

export type Hash = Uint8Array;
export type Fetch = (path: string) => Promise<Uint8Array>;

const WIDTH = 256;

export async function sha256(...parts: Uint8Array[]): Promise<Hash> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return new Uint8Array(await crypto.subtle.digest("SHA-256", whole));
}

export const leafHash = (leaf: Uint8Array): Promise<Hash> => sha256(Uint8Array.of(0), leaf);
export const nodeHash = (left: Hash, right: Hash): Promise<Hash> =>
  sha256(Uint8Array.of(1), left, right);

export const hex = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

export function unhex(text: string): Uint8Array {
  if (!/^(?:[0-9a-f]{2})*$/.test(text)) throw new Error("not hexadecimal");
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

export const equal = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, at) => byte === b[at]);

/** Writes a tile's number as paths have it: `x001/x234/067`. */
function numbered(value: number): string {
  let path = String(value % 1000).padStart(3, "0");
  for (let rest = Math.floor(value / 1000); rest > 0; rest = Math.floor(rest / 1000)) {
    path = `x${String(rest % 1000).padStart(3, "0")}/${path}`;
  }
  return path;
}

/** The greatest power of two below a number that is 2 or more. */
function split(count: number): number {
  let half = 1;
  while (half * 2 < count) half *= 2;
  return half;
}

const isPower = (count: number): boolean => count > 0 && Math.log2(count) % 1 === 0;

/** A tree of some size, its hashes fetched as they are asked for. */
export class Tiles {
  private readonly files = new Map<string, Promise<Uint8Array>>();
  private readonly known = new Map<string, Promise<Hash>>();

  constructor(
    readonly size: number,
    private readonly fetch: Fetch,
  ) {}

  private read(level: string, number: number, count: number): Promise<Uint8Array> {
    const width = Math.min(count - number * WIDTH, WIDTH);
    const path = `tile/${level}/${numbered(number)}${width < WIDTH ? `.p/${width}` : ""}`;
    let file = this.files.get(path);
    if (!file) this.files.set(path, (file = this.fetch(path)));
    return file;
  }

  /** The record of a leaf, from its bundle. */
  async leaf(index: number): Promise<Uint8Array> {
    const bundle = await this.read("entries", Math.floor(index / WIDTH), this.size);
    let at = 0;
    for (let left = index % WIDTH; ; left -= 1) {
      if (at + 2 > bundle.length) throw new Error(`entry ${index} is not in its bundle`);
      const length = (bundle[at] ?? 0) * 256 + (bundle[at + 1] ?? 0);
      if (at + 2 + length > bundle.length) throw new Error(`entry ${index} is cut off`);
      if (left === 0) return bundle.slice(at + 2, at + 2 + length);
      at += 2 + length;
    }
  }

  private async stored(level: number, index: number): Promise<Hash> {
    const count = Math.floor(this.size / WIDTH ** level);
    const tile = await this.read(String(level), Math.floor(index / WIDTH), count);
    const at = (index % WIDTH) * 32;
    if (at + 32 > tile.length) throw new Error(`a tile of level ${level} is cut off`);
    return tile.slice(at, at + 32);
  }

  private subtree(level: number, index: number): Promise<Hash> {
    const key = `${level}/${index}`;
    let hash = this.known.get(key);
    if (!hash) {
      hash =
        level % 8 === 0
          ? this.stored(level / 8, index)
          : Promise.all([
              this.subtree(level - 1, index * 2),
              this.subtree(level - 1, index * 2 + 1),
            ]).then(([left, right]) => nodeHash(left, right));
      this.known.set(key, hash);
    }
    return hash;
  }

  /** The root over the leaves `[begin, end)`, of which `begin` is a multiple of what they need. */
  async range(begin: number, end: number): Promise<Hash> {
    const count = end - begin;
    if (isPower(count) && begin % count === 0) {
      return this.subtree(Math.round(Math.log2(count)), begin / count);
    }
    const half = split(count);
    return nodeHash(await this.range(begin, begin + half), await this.range(begin + half, end));
  }

  /** The siblings of a leaf, from it to the root. */
  async path(index: number, begin = 0, end = this.size): Promise<Hash[]> {
    if (end - begin <= 1) return [];
    const half = begin + split(end - begin);
    return index < half
      ? [...(await this.path(index, begin, half)), await this.range(half, end)]
      : [...(await this.path(index, half, end)), await this.range(begin, half)];
  }

  /** The nodes that show a smaller tree to be the beginning of this one. */
  async consistency(earlier: number, begin = 0, end = this.size, whole = true): Promise<Hash[]> {
    if (earlier === end - begin) return whole ? [] : [await this.range(begin, end)];
    const half = split(end - begin);
    return earlier <= half
      ? [
          ...(await this.consistency(earlier, begin, begin + half, whole)),
          await this.range(begin + half, end),
        ]
      : [
          ...(await this.consistency(earlier - half, begin + half, end, false)),
          await this.range(begin, begin + half),
        ];
  }
}

/** The root that a leaf and its path lead to (RFC 9162, 2.1.3.2). */
export async function rootFromPath(
  leaf: Hash,
  index: number,
  size: number,
  path: Hash[],
): Promise<Hash> {
  if (index >= size) throw new Error("the leaf lies beyond the tree");
  let [at, last, root] = [index, size - 1, leaf];
  for (const sibling of path) {
    if (last === 0) throw new Error("the path is too long");
    if (at % 2 === 1 || at === last) {
      root = await nodeHash(sibling, root);
      while (at % 2 === 0 && at !== 0) [at, last] = [Math.floor(at / 2), Math.floor(last / 2)];
    } else {
      root = await nodeHash(root, sibling);
    }
    [at, last] = [Math.floor(at / 2), Math.floor(last / 2)];
  }
  if (last !== 0) throw new Error("the path is too short");
  return root;
}

/** The two roots that a consistency proof leads to (RFC 9162, 2.1.4.2); sizes differ, neither 0. */
export async function rootsFromProof(
  earlier: number,
  later: number,
  rootEarlier: Hash,
  proof: Hash[],
): Promise<[Hash, Hash]> {
  const nodes = isPower(earlier) ? [rootEarlier, ...proof] : [...proof];
  let [first, last] = [earlier - 1, later - 1];
  while (first % 2 === 1) [first, last] = [Math.floor(first / 2), Math.floor(last / 2)];
  const start = nodes.shift();
  if (!start) throw new Error("the proof is too short");
  let [old, now] = [start, start];
  for (const node of nodes) {
    if (last === 0) throw new Error("the proof is too long");
    if (first % 2 === 1 || first === last) {
      old = await nodeHash(node, old);
      now = await nodeHash(node, now);
      while (first % 2 === 0 && first !== 0) {
        [first, last] = [Math.floor(first / 2), Math.floor(last / 2)];
      }
    } else {
      now = await nodeHash(now, node);
    }
    [first, last] = [Math.floor(first / 2), Math.floor(last / 2)];
  }
  if (last !== 0) throw new Error("the proof is too short");
  return [old, now];
}
