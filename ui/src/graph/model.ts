// What is drawn: boxes and lines with their places, made of the numbers that the page brings.

import { kindWord, parse, shortened, shortName } from "../shared/nodes";
import type { Placed, Wish } from "./layered";

export interface Sent {
  graph: {
    nodes: string[];
    edges: [number, number, number, number][];
    gaps: Record<string, string[]>;
    more: number[];
  };
  cards: Record<string, Card>;
  moment: { as_of: string; valid_at: string; segment: string };
  opened: Columns;
}

// Columns of single nodes, and the edges between them: from, to, style, stale, indirect.
export interface Columns {
  nodes: Record<string, { columns: string[]; total: number }>;
  edges: [string, string, number, number, number][];
}

export interface Card {
  written: string | null;
  rows: number | null;
  state: string | null;
  job_state: string | null;
}

export interface Port {
  id: string;
  name: string;
}

export interface Box {
  id: string; // empty for a stub
  kind: string;
  name: string;
  readonly version: string;
  x: number; // left
  y: number; // middle
  height: number;
  gaps: string[];
  more: boolean;
  upstream: boolean;
  members: Box[]; // of a stub: who waits behind it
  ports: Port[]; // columns
  portsTotal: number; // of which `ports` are a part
  opened: boolean; // whether its columns were opened for it alone
  open: boolean; // whether all columns are shown
  card: Card | null;
  asked: boolean;
  hidden: boolean; // behind a stub
  incoming: Line[];
  outgoing: Line[];
}

export interface Line {
  source: Box;
  target: Box;
  sourcePort: number; // -1: the box itself
  targetPort: number;
  sourceId: string;
  targetId: string;
  style: number; // 0 asserted by runs, 1 declared, 2 inferred
  stale: boolean;
  ofColumns: boolean; // between columns that were opened
  faint: boolean; // decides about rows or their order, without giving a value
  bends: number[];
}

export const WIDTH = 224;
export const HEIGHT = 72;
export const STUB_HEIGHT = 34;
export const PORT_HEIGHT = 19;
export const PORTS_SHOWN = 8;
export const GAP_X = 80;
export const GAP_Y = 20;
// Nodes with the same neighbours: so many are shown, the others wait behind a stub.
const ALIKE_MAX = 12;
const ALIKE_SHOWN = 8;
const EXPANDED_AT_ONCE = 24;

// Its name is made when it is drawn or told: of thousands of boxes most never are.
class NamedBox implements Box {
  x = 0;
  y = 0;
  height = HEIGHT;
  gaps: string[] = [];
  more = false;
  upstream = false;
  members: Box[] = [];
  ports: Port[] = [];
  portsTotal = 0;
  opened = false;
  open = false;
  hidden = false;
  incoming: Line[] = [];
  outgoing: Line[] = [];
  private told: string | null = null;
  private numbered: string | null = null;

  constructor(
    readonly id: string,
    public kind: string,
    public card: Card | null,
    public asked: boolean,
  ) {}

  get name(): string {
    this.told ??= shortName(this.id);
    return this.told;
  }

  set name(told: string) {
    this.told = told;
  }

  get version(): string {
    this.numbered ??= this.kind === "hidden" ? "" : shortVersion(parse(this.id).version);
    return this.numbered;
  }
}

export class Graph {
  boxes: Box[] = [];
  lines: Line[] = [];
  byId = new Map<string, Box>();

  constructor(readonly sent: Sent) {
    const { nodes, edges, gaps, more } = sent.graph;
    const homes = this.addNodes(nodes);
    // By number, not by name: texts of thousands of edges would take longer than all the rest.
    const known = new Set<number>();
    for (const [from, to, style, stale] of edges) {
      const key = from * nodes.length + to;
      if (known.has(key)) continue;
      known.add(key);
      this.addLine(homes[from]!, homes[to]!, nodes[from]!, nodes[to]!, style, stale > 0);
    }
    for (const [number, reasons] of Object.entries(gaps)) {
      homes[Number(number)]?.box.gaps.push(...reasons);
    }
    for (const number of more) if (homes[number]) homes[number].box.more = true;
    for (const id of Object.keys(sent.opened.nodes)) {
      const box = this.byId.get(id);
      if (box && box.ports.length === 0) this.givePorts(box, sent.opened);
    }
  }

  // The second half of making one: a step of its own, so that a large graph is made in several.
  complete(): this {
    this.markUpstream();
    this.gather();
    this.tieColumns(this.sent.opened);
    return this;
  }

  get root(): Box {
    return this.boxes[0]!;
  }

  // Columns become ports of their datasets, where these are there, too.
  private addNodes(nodes: string[]): { box: Box; port: number }[] {
    const datasets = new Map<string, number>();
    nodes.forEach((id, number) => {
      if (id.startsWith("dataset:")) datasets.set(id, number);
    });
    const homes = new Array<{ box: Box; port: number } | null>(nodes.length).fill(null);
    const fields: [number, string][] = [];
    nodes.forEach((id, number) => {
      const home = number > 0 && /^(datasetField|feature):/.test(id) ? datasetOf(id) : null;
      if (home !== null && datasets.has(home)) fields.push([number, home]);
      else homes[number] = { box: this.add(id), port: -1 };
    });
    for (const [number, home] of fields) {
      const box = this.byId.get(home)!;
      homes[number] = { box, port: box.ports.push(portOf(nodes[number]!)) - 1 };
    }
    for (const box of this.boxes) {
      box.portsTotal = box.ports.length;
      box.height = heightOf(box);
    }
    return homes as { box: Box; port: number }[];
  }

  add(id: string): Box {
    const kind = id.startsWith("restricted:") ? "hidden" : id.slice(0, id.indexOf(":"));
    const box = new NamedBox(id, kind, this.sent.cards[id] ?? null, id in this.sent.cards);
    this.boxes.push(box);
    this.byId.set(id, box);
    return box;
  }

  private addLine(
    from: { box: Box; port: number },
    to: { box: Box; port: number },
    sourceId: string,
    targetId: string,
    style: number,
    stale: boolean,
    ofColumns = false,
    faint = false,
  ): void {
    const line: Line = {
      source: from.box, target: to.box, sourcePort: from.port, targetPort: to.port,
      sourceId, targetId, style, stale, ofColumns, faint, bends: [],
    };
    this.lines.push(line);
    from.box.outgoing.push(line);
    to.box.incoming.push(line);
  }

  private markUpstream(): void {
    const waiting = [this.root];
    const seen = new Set(waiting);
    for (let head = 0; head < waiting.length; head++) {
      for (const line of waiting[head]!.incoming) {
        if (seen.has(line.source)) continue;
        seen.add(line.source);
        line.source.upstream = true;
        waiting.push(line.source);
      }
    }
  }

  // Many nodes with the same neighbours say the same thing: most of them wait behind a stub.
  private gather(): void {
    const number = new Map(this.boxes.map((box, at) => [box, at]));
    // First by a sum over the neighbours: few boxes are left whose neighbours must be written out.
    const likely = new Map<number, Box[]>();
    for (const box of this.boxes) {
      if (box === this.root || box.gaps.length > 0 || box.opened) continue;
      let sum = 0;
      for (const line of box.incoming) sum = (sum + mixed(number.get(line.source)!)) | 0;
      for (const line of box.outgoing) sum = (sum + mixed(~number.get(line.target)!)) | 0;
      add(likely, sum, box);
    }
    const alike = new Map<string, Box[]>();
    for (const some of likely.values()) {
      if (some.length <= ALIKE_MAX) continue;
      for (const box of some) {
        const above = box.incoming.map((line) => number.get(line.source)!).sort((a, b) => a - b);
        const below = box.outgoing.map((line) => number.get(line.target)!).sort((a, b) => a - b);
        add(alike, `${box.kind}|${above.join()}|${below.join()}`, box);
      }
    }
    for (const group of alike.values()) {
      if (group.length <= ALIKE_MAX) continue;
      const waiting = group.slice(ALIKE_SHOWN);
      const stub = this.add("");
      this.byId.delete("");
      stub.kind = "stub";
      stub.height = STUB_HEIGHT;
      stub.members = waiting;
      stub.upstream = group[0]!.upstream;
      for (const box of waiting) box.hidden = true;
      nameStub(stub);
      const first = group[0]!;
      for (const line of first.incoming) this.tie(line.source, stub, line);
      for (const line of first.outgoing) this.tie(stub, line.target, line);
    }
  }

  private tie(source: Box, target: Box, like: Line): void {
    const line: Line = {
      ...like, source, target, sourcePort: -1, targetPort: -1, sourceId: source.id,
      targetId: target.id, bends: [],
    };
    this.lines.push(line);
    source.outgoing.push(line);
    target.incoming.push(line);
  }

  // Opens a node to its columns, or closes it. Its top stays, and so does what is above and beside
  // it; what is below it makes room.
  setColumns(box: Box, columns: Columns | null): void {
    const before = box.height;
    const middle = box.y;
    if (columns) this.givePorts(box, columns);
    else {
      box.ports = [];
      box.portsTotal = 0;
      box.opened = box.open = false;
      box.height = heightOf(box);
    }
    const more = box.height - before;
    for (const other of this.boxes) {
      if (other !== box && Math.abs(other.x - box.x) < 1 && other.y > middle) other.y += more;
    }
    for (const { bends } of this.lines) {
      for (let at = 0; at < bends.length; at += 2) {
        if (Math.abs(bends[at]! - box.x) < 1 && bends[at + 1]! > middle) bends[at + 1]! += more;
      }
    }
    box.y += more / 2;
    for (const other of this.boxes) {
      other.incoming = other.incoming.filter((line) => !line.ofColumns);
      other.outgoing = other.outgoing.filter((line) => !line.ofColumns);
    }
    this.lines = this.lines.filter((line) => !line.ofColumns);
    if (columns) this.tieColumns(columns);
  }

  opened(): Box[] {
    return this.boxes.filter((box) => box.opened);
  }

  private givePorts(box: Box, columns: Columns): void {
    const told = columns.nodes[box.id];
    if (!told) return;
    box.ports = told.columns.map(portOf);
    box.portsTotal = told.total;
    box.opened = true;
    box.height = heightOf(box);
  }

  // Edges between columns of opened nodes, and of these to what has no columns, such as a model.
  tieColumns({ edges }: Columns): void {
    const homes = new Map<string, { box: Box; port: number }>();
    for (const box of this.boxes) {
      if (box.id) homes.set(box.id, { box, port: -1 });
      if (box.opened) box.ports.forEach((port, at) => homes.set(port.id, { box, port: at }));
    }
    const known = new Set<string>();
    for (const [from, to, style, stale, indirect] of edges) {
      const source = homes.get(from);
      const target = homes.get(to);
      const key = pairOf(from, to);
      if (!source || !target || known.has(key)) continue;
      known.add(key);
      this.addLine(source, target, from, to, style, stale > 0, true, indirect > 0);
    }
  }

  shown(): Box[] {
    return this.boxes.filter((box) => !box.hidden);
  }

  wish(): { wish: Wish; boxes: Box[]; lines: Line[] } {
    const boxes = this.shown();
    const number = new Map(boxes.map((box, at) => [box, at]));
    const seen = new Set<number>();
    const lines: Line[] = [];
    const sources: number[] = [];
    const targets: number[] = [];
    for (const line of this.lines) {
      const source = number.get(line.source);
      const target = number.get(line.target);
      if (source === undefined || target === undefined || source === target) continue;
      const key = source * boxes.length + target;
      if (seen.has(key)) continue;
      seen.add(key);
      sources.push(source);
      targets.push(target);
      lines.push(line);
    }
    const wish = {
      count: boxes.length, root: 0, sources: Int32Array.from(sources),
      targets: Int32Array.from(targets), heights: Float32Array.from(boxes, (box) => box.height),
      width: WIDTH, gapX: GAP_X, gapY: GAP_Y,
    };
    return { wish, boxes, lines };
  }

  take(placed: Placed, boxes: Box[], lines: Line[]): void {
    boxes.forEach((box, at) => {
      box.x = placed.x[at]!;
      box.y = placed.y[at]!;
    });
    lines.forEach((line, at) => {
      const begin = placed.bendStart[at]! * 2;
      const end = placed.bendStart[at + 1]! * 2;
      if (begin === end) return;
      const bends = Array.from(placed.bends.subarray(begin, end));
      // Of an edge that was turned round, the bends come from the other end.
      if (line.source.x > line.target.x) {
        const turned: number[] = [];
        for (let i = bends.length - 2; i >= 0; i -= 2) turned.push(bends[i]!, bends[i + 1]!);
        line.bends = turned;
      } else line.bends = bends;
    });
  }

  // Shows some of those who wait behind a stub, in free places of its column: nothing moves.
  expand(stub: Box): Box[] {
    const shown = stub.members.splice(0, EXPANDED_AT_ONCE);
    for (const box of shown) {
      box.hidden = false;
      box.x = stub.x;
      box.y = this.freePlace(stub.x, stub.y, box.height);
    }
    if (stub.members.length === 0) {
      stub.hidden = true;
      const [first] = shown;
      // The last one takes the place of the stub itself.
      if (first) first.y = this.freePlace(stub.x, stub.y, first.height);
    } else nameStub(stub);
    return shown;
  }

  // Takes in what lies beyond a node, in free places beside it: nothing moves.
  grow(box: Box, sent: Sent["graph"], cards: Record<string, Card>): Box[] {
    Object.assign(this.sent.cards, cards);
    const known = new Set(this.lines.map((line) => pairOf(line.sourceId, line.targetId)));
    const added: Box[] = [];
    const homes = sent.nodes.map((id) => {
      let found = this.byId.get(id);
      if (!found) {
        found = this.add(id);
        found.upstream = box.upstream;
        found.x = box.x + (box.upstream ? -1 : 1) * (WIDTH + GAP_X);
        found.y = this.freePlace(found.x, box.y, found.height);
        added.push(found);
      }
      return { box: found, port: -1 };
    });
    for (const [from, to, style, stale] of sent.edges) {
      const ends = [sent.nodes[from]!, sent.nodes[to]!] as const;
      const key = pairOf(...ends);
      if (known.has(key)) continue;
      known.add(key);
      this.addLine(homes[from]!, homes[to]!, ...ends, style, stale > 0);
    }
    for (const number of sent.more) {
      const home = homes[number];
      if (home && added.includes(home.box)) home.box.more = true;
    }
    box.more = false;
    return added;
  }

  private freePlace(x: number, wanted: number, height: number): number {
    const taken = this.boxes
      .filter((box) => !box.hidden && Math.abs(box.x - x) < WIDTH)
      .map((box) => [box.y - box.height / 2 - GAP_Y, box.y + box.height / 2 + GAP_Y] as const)
      .sort((a, b) => a[0] - b[0]);
    const half = height / 2;
    const free = (y: number): boolean => taken.every(([top, end]) => y + half <= top || y - half >= end);
    if (free(wanted)) return wanted;
    let best = Number.POSITIVE_INFINITY;
    for (const [top, end] of taken) {
      for (const y of [top - half, end + half]) {
        if (Math.abs(y - wanted) < Math.abs(best - wanted) && free(y)) best = y;
      }
    }
    return best;
  }
}

function add<Key>(groups: Map<Key, Box[]>, key: Key, box: Box): void {
  const group = groups.get(key);
  if (group) group.push(box);
  else groups.set(key, [box]);
}

// Spreads a number over 32 bits, so that sums of few are seldom equal.
function mixed(number: number): number {
  const once = Math.imul(number ^ (number >>> 16), 0x45d9f3b);
  return Math.imul(once ^ (once >>> 16), 0x45d9f3b);
}

function pairOf(sourceId: string, targetId: string): string {
  return `${sourceId}\n${targetId}`;
}

function portOf(id: string): Port {
  return { id, name: shortened(parse(id).part, 60) };
}

function nameStub(stub: Box): void {
  const count = stub.members.length;
  const kind = kindWord(stub.members[0]?.kind ?? "");
  // The language's rules for numbers take tens of milliseconds to load.
  const told = count < 1_000 ? String(count) : count.toLocaleString("en");
  stub.name = `+${told} ${kind}${count === 1 ? "" : "s"}`;
}

export function heightOf(box: Box): number {
  if (box.kind === "stub") return STUB_HEIGHT;
  if (box.ports.length === 0) return HEIGHT;
  const rows = Math.min(box.ports.length, PORTS_SHOWN) + (box.portsTotal > PORTS_SHOWN ? 1 : 0);
  return HEIGHT + rows * PORT_HEIGHT + 6;
}

// What one can be opened to columns.
export function hasColumns(box: Box): boolean {
  return box.kind === "dataset" && !box.hidden;
}

function datasetOf(id: string): string | null {
  // Without decoding: the dataset's identifier is the column's without its last part.
  const hash = id.indexOf("#");
  const head = hash < 0 ? id : id.slice(0, hash);
  const rest = head.slice(head.indexOf(":") + 1);
  const cut = rest.lastIndexOf(":");
  return cut < 0 ? null : `dataset:${rest.slice(0, cut)}${hash < 0 ? "" : id.slice(hash)}`;
}

export function shortVersion(version: string): string {
  if (version === "") return "";
  const match = /^(?:\w+:)?([0-9a-fA-F]{16,})$/.exec(version);
  return match ? match[1]!.slice(0, 8) : shortened(version, 16);
}
