// How the graph looks: a drawing of what is in view. Labels are never smaller than 11 pixels; where
// there is no room for that, nodes become marks, and each layer says how many it has.

import type { Box, Graph, Line } from "./model";
import { hasColumns, HEIGHT, PORT_HEIGHT, PORTS_SHOWN, WIDTH } from "./model";
import { kindWord } from "../shared/nodes";

export interface View {
  x: number; // world coordinates of the middle
  y: number;
  zoom: number;
  width: number; // of the canvas, in CSS pixels
  height: number;
}

export interface Chosen {
  box: Box | null;
  line: Line | null;
}

export interface Colours {
  [name: string]: string;
}

const NAMES = [
  "paper", "raised", "sunken", "line", "line-strong", "ink", "ink-2", "accent", "accent-soft",
  "ore", "ore-soft", "bad", "good", "focus", "k-dataset", "k-datasetField", "k-job", "k-run",
  "k-feature", "k-model", "k-deployment", "k-prediction", "k-row", "k-agent",
];
export const LABEL_MIN = 11;
// Below this zoom a card has no room for a label of that size.
export const MARKS_BELOW = 0.3;
// Lines of one path: browsers fill a path in a time that grows with the square of its crossings.
const PATH_LINES = 12;
const FAR_PIXELS = 2_000;
export const HANDLE_WIDTH = 30;
export const HANDLE_HEIGHT = 13;
const DASHES: readonly number[][] = [[], [7, 5], [1.5, 5]];

export function readColours(): Colours {
  const style = getComputedStyle(document.documentElement);
  const found: Colours = { sans: style.getPropertyValue("--sans") || "sans-serif" };
  for (const name of NAMES) found[name] = style.getPropertyValue(`--${name}`).trim();
  return found;
}

export function colourOf(box: Box, colours: Colours): string {
  return colours[`k-${box.kind}`] ?? colours["ink-2"]!;
}

// Where a line ends at a box: at its middle, or at one of its columns.
export function portY(box: Box, port: number): number {
  if (port < 0) return box.y - box.height / 2 + Math.min(HEIGHT, box.height) / 2;
  const shown = box.open ? box.ports.length : PORTS_SHOWN;
  const row = Math.min(port, shown);
  return box.y - box.height / 2 + HEIGHT + row * PORT_HEIGHT + PORT_HEIGHT / 2;
}

// A curve as points of cubic Béziers: [x, y, then c1x, c1y, c2x, c2y, x, y, …].
export function curve(line: Line): number[] {
  const { source, target } = line;
  const sx = source.x + WIDTH;
  const sy = portY(source, line.sourcePort);
  const tx = target.x;
  const ty = portY(target, line.targetPort);
  if (source === target) {
    const top = source.y - source.height / 2;
    return [sx - 40, top, sx - 40, top - 46, sx + 46, top - 20, sx, sy - 8];
  }
  if (tx < sx) {
    // Back, against the reading direction: around the boxes.
    const low = Math.max(source.y + source.height / 2, target.y + target.height / 2) + 34;
    const middle = (sx + tx) / 2;
    return [sx, sy, sx + 70, sy, sx + 70, low, middle, low, tx - 70, low, tx - 70, ty, tx, ty];
  }
  const points = [sx, sy];
  let x = sx;
  let y = sy;
  for (let i = 0; i < line.bends.length; i += 2) {
    const bx = line.bends[i]!;
    const by = line.bends[i + 1]!;
    const half = (bx - x) / 2;
    points.push(x + half, y, bx - half, by, bx, by);
    points.push(bx + WIDTH / 3, by, bx + (WIDTH * 2) / 3, by, bx + WIDTH, by);
    x = bx + WIDTH;
    y = by;
  }
  const half = Math.max(28, (tx - x) / 2);
  points.push(x + half, y, tx - half, ty, tx, ty);
  return points;
}

export class Painter {
  private widths = new Map<string, string>();

  constructor(
    readonly context: CanvasRenderingContext2D,
    public colours: Colours,
  ) {}

  // Gives how many boxes were in view.
  paint(graph: Graph, view: View, chosen: Chosen, ratio: number): Box[] {
    const { context, colours } = this;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = colours.sunken!;
    context.fillRect(0, 0, view.width, view.height);
    const halfWidth = view.width / 2 / view.zoom;
    const halfHeight = view.height / 2 / view.zoom;
    const left = view.x - halfWidth;
    const right = view.x + halfWidth;
    const top = view.y - halfHeight;
    const end = view.y + halfHeight;
    const boxes = graph.boxes.filter(
      (box) =>
        !box.hidden && box.x < right && box.x + WIDTH > left &&
        box.y - box.height / 2 < end && box.y + box.height / 2 > top,
    );
    const marks = view.zoom < MARKS_BELOW;
    context.setTransform(
      ratio * view.zoom, 0, 0, ratio * view.zoom,
      ratio * (view.width / 2 - view.x * view.zoom), ratio * (view.height / 2 - view.y * view.zoom),
    );
    const lines = graph.lines.filter((line) => inView(line, left, right, top, end));
    if (marks) this.marks(boxes, lines, chosen, view.zoom);
    else this.cards(boxes, lines, chosen, graph.root, view.zoom);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (marks) this.counts(graph, view);
    else this.beyond(graph, view, [left, right, top, end]);
    return boxes;
  }

  // How many cards lie beyond each side of what is in view, at that side.
  private beyond(graph: Graph, view: View, [left, right, top, end]: [number, number, number, number]): void {
    let [before, after, above, below] = [0, 0, 0, 0];
    for (const box of graph.boxes) {
      if (box.hidden) continue;
      const many = box.kind === "stub" ? box.members.length : 1;
      if (box.x + WIDTH <= left) before += many;
      else if (box.x >= right) after += many;
      else if (box.y + box.height / 2 <= top) above += many;
      else if (box.y - box.height / 2 >= end) below += many;
    }
    const { context, colours } = this;
    context.font = `600 12px ${colours.sans}`;
    context.textBaseline = "middle";
    context.textAlign = "center";
    const sides: [number, string, number, number][] = [
      [before, "← {} more", 0, 17], [after, "{} more →", view.width, 17],
      [above, "↑ {} more", view.width / 2, 17], [below, "↓ {} more", view.width / 2, view.height - 17],
    ];
    for (const [many, words, x, y] of sides) {
      if (many === 0) continue;
      const text = words.replace("{}", many.toLocaleString("en"));
      const width = context.measureText(text).width + 18;
      const middle = Math.min(Math.max(x, width / 2 + 6), view.width - width / 2 - 6);
      context.beginPath();
      context.roundRect(middle - width / 2, y - 11, width, 22, 11);
      context.fillStyle = colours.raised!;
      context.fill();
      context.lineWidth = 1;
      context.strokeStyle = colours.line!;
      context.stroke();
      context.fillStyle = colours["ink-2"]!;
      context.fillText(text, middle, y + 0.5);
    }
    context.textAlign = "left";
  }

  private marks(boxes: Box[], lines: Line[], chosen: Chosen, zoom: number): void {
    const { context, colours } = this;
    this.hairlines(lines, zoom, lines.length > 2_000 ? 0.35 : 0.6);
    const byColour = new Map<string, Box[]>();
    for (const box of boxes) {
      const colour = colourOf(box, colours);
      const some = byColour.get(colour);
      if (some) some.push(box);
      else byColour.set(colour, [box]);
    }
    for (const [colour, some] of byColour) {
      context.fillStyle = colour;
      for (const box of some) context.fillRect(box.x, box.y - box.height / 2, WIDTH, box.height);
    }
    if (chosen.box) {
      const box = chosen.box;
      context.strokeStyle = colours.focus!;
      context.lineWidth = 4 / zoom;
      context.strokeRect(box.x, box.y - box.height / 2, WIDTH, box.height);
    }
  }

  private hairlines(lines: Line[], zoom: number, alpha: number): void {
    const { context, colours } = this;
    context.lineWidth = 1 / zoom;
    context.globalAlpha = alpha;
    context.strokeStyle = colours["line-strong"]!;
    for (let first = 0; first < lines.length; first += PATH_LINES) {
      context.beginPath();
      for (const line of lines.slice(first, first + PATH_LINES)) {
        context.moveTo(line.source.x + WIDTH, line.source.y);
        context.lineTo(line.target.x, line.target.y);
      }
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  private counts(graph: Graph, view: View): void {
    const { context, colours } = this;
    const layers = new Map<number, { top: number; kinds: Map<string, number> }>();
    for (const box of graph.boxes) {
      if (box.hidden) continue;
      const layer = layers.get(box.x) ?? { top: Number.POSITIVE_INFINITY, kinds: new Map() };
      layer.top = Math.min(layer.top, box.y - box.height / 2);
      const many = box.kind === "stub" ? box.members.length : 1;
      const kind = box.kind === "stub" ? (box.members[0]?.kind ?? "") : box.kind;
      layer.kinds.set(kind, (layer.kinds.get(kind) ?? 0) + many);
      layers.set(box.x, layer);
    }
    context.font = `600 12px ${colours.sans}`;
    context.textBaseline = "bottom";
    context.textAlign = "center";
    let free = Number.NEGATIVE_INFINITY;
    for (const [x, layer] of [...layers].sort((a, b) => a[0] - b[0])) {
      const middle = (x + WIDTH / 2 - view.x) * view.zoom + view.width / 2;
      const y = Math.max(20, (layer.top - view.y) * view.zoom + view.height / 2 - 6);
      const text = [...layer.kinds]
        .map(([kind, many]) => `${many.toLocaleString("en")} ${kindWord(kind)}${many === 1 ? "" : "s"}`)
        .join(", ");
      const width = context.measureText(text).width + 12;
      // Labels that would lie over each other are left out; zooming in shows them.
      if (middle - width / 2 < free || middle + width / 2 < 0 || middle - width / 2 > view.width) continue;
      free = middle + width / 2;
      context.fillStyle = colours.paper!;
      context.fillRect(middle - width / 2, y - 16, width, 19);
      context.fillStyle = colours.ink!;
      context.fillText(text, middle, y);
    }
    context.textAlign = "left";
  }

  private cards(boxes: Box[], lines: Line[], chosen: Chosen, root: Box, zoom: number): void {
    // What only passes through, or comes from far off, is a hairline: there may be hundreds, none of
    // them can be read, and curves that long are slow to fill.
    const inside = new Set(boxes);
    const far = (line: Line): boolean =>
      Math.abs(line.source.y - line.target.y) > (FAR_PIXELS / zoom) ||
      !(inside.has(line.source) || inside.has(line.target));
    const near = lines.filter((line) => !far(line));
    if (near.length < lines.length) this.hairlines(lines.filter(far), zoom, 0.28);
    this.strokeLines(near, zoom);
    if (chosen.box) {
      const own = [...chosen.box.incoming, ...chosen.box.outgoing].filter(shown);
      this.strokeMarked(own, this.colours.accent!, 1.8);
    }
    if (chosen.line && shown(chosen.line)) this.strokeMarked([chosen.line], this.colours.focus!, 3);
    for (const box of boxes) if (box.gaps.length > 0) this.gap(box, zoom);
    for (const box of boxes) if (!box.open) this.card(box, chosen.box === box, box === root, zoom);
    for (const box of boxes) if (box.open) this.card(box, chosen.box === box, box === root, zoom);
  }

  private strokeLines(lines: Line[], zoom: number): void {
    const { context, colours } = this;
    const weights: [boolean, boolean][] = [[true, true], [true, false], [false, false]];
    for (const [thin, faint] of weights) {
      for (const stale of [false, true]) {
        for (let style = 0; style < 3; style++) {
          const some = lines.filter(
            (line) =>
              line.style === style && line.stale === stale && isThin(line) === thin && (line.faint && thin) === faint,
          );
          if (some.length === 0) continue;
          context.setLineDash(DASHES[style]!);
          context.lineCap = style === 2 ? "round" : "butt";
          // Edges of columns come by the dozen: each is fainter than one between nodes.
          context.globalAlpha = faint ? 0.14 : thin ? 0.5 : 1;
          context.lineWidth = thin ? 1 : Math.max(1.3, 0.9 / zoom);
          context.strokeStyle = stale ? colours.ore! : colours["line-strong"]!;
          for (let first = 0; first < some.length; first += PATH_LINES) {
            context.beginPath();
            for (const line of some.slice(first, first + PATH_LINES)) trace(context, curve(line));
            context.stroke();
          }
        }
      }
    }
    context.globalAlpha = 1;
    context.setLineDash([]);
    context.fillStyle = colours["line-strong"]!;
    for (let first = 0; first < lines.length; first += PATH_LINES) {
      context.beginPath();
      for (const line of lines.slice(first, first + PATH_LINES)) if (!isThin(line)) arrow(context, line);
      context.fill();
    }
  }

  private strokeMarked(lines: Line[], colour: string, width: number): void {
    const { context } = this;
    for (const line of lines) {
      context.beginPath();
      trace(context, curve(line));
      context.setLineDash(DASHES[line.style]!);
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.stroke();
      context.setLineDash([]);
      context.fillStyle = colour;
      context.beginPath();
      arrow(context, line, 1.4);
      context.fill();
    }
  }

  // A broken line on the side of what is unknown, with its words where nothing else is there.
  private gap(box: Box, zoom: number): void {
    const { context, colours } = this;
    const { x, y, toX, free } = gapLine(box);
    context.strokeStyle = colours.ore!;
    context.lineWidth = 2;
    context.setLineDash([9, 7]);
    context.beginPath();
    context.moveTo(x, y);
    context.lineTo(toX, y);
    context.stroke();
    context.setLineDash([]);
    const size = Math.max(12, LABEL_MIN / zoom);
    const left = toX < x;
    context.fillStyle = colours.ore!;
    context.textBaseline = "middle";
    context.textAlign = left ? "right" : "left";
    const font = `600 ${size}px ${colours.sans}`;
    context.font = font;
    context.fillText("?", toX + (left ? -5 : 5), y);
    if (free) {
      const said = box.gaps[0]!.replace(/^\w+: /, "");
      this.text(said, left ? x - 4 : x + 8, y - size, WIDTH, `${size}px ${colours.sans}`);
    }
    context.textAlign = "left";
  }

  private card(box: Box, chosen: boolean, root: boolean, zoom: number): void {
    const { context, colours } = this;
    const height = box.open ? openHeight(box) : box.height;
    const top = box.y - box.height / 2;
    context.beginPath();
    context.roundRect(box.x, top, WIDTH, height, box.kind === "stub" ? 17 : 8);
    context.fillStyle = root ? colours["accent-soft"]! : colours.raised!;
    context.fill();
    context.lineWidth = chosen ? 3 : root ? 2.2 : 1;
    context.strokeStyle = chosen ? colours.focus! : root ? colours.accent! : colours.line!;
    if (box.kind === "stub" || box.kind === "hidden") context.setLineDash([4, 4]);
    context.stroke();
    context.setLineDash([]);
    const lines = Math.min(height, HEIGHT) * zoom;
    const size = Math.max(13.5, LABEL_MIN / zoom);
    const small = Math.max(11.5, LABEL_MIN / zoom);
    const many = box.kind === "stub" ? 1 : lines >= 42 ? 3 : lines >= 34 ? 2 : 1;
    const first = top + (many === 3 ? 17 : many === 2 ? 22 : Math.min(height, HEIGHT) / 2);
    const inset = box.kind === "stub" ? 16 : 34;
    if (box.kind !== "stub") {
      context.fillStyle = colourOf(box, colours);
      shape(context, box.kind, box.x + 18, first, 6.5, colours);
    }
    context.textBaseline = "middle";
    context.fillStyle = colours.ink!;
    const room = WIDTH - inset - (box.more ? 30 : 12);
    this.text(box.name, box.x + inset, first, room, `${root ? 650 : 600} ${size}px ${colours.sans}`);
    context.fillStyle = colours["ink-2"]!;
    const font = `${small}px ${colours.sans}`;
    if (many > 1) this.text(detail(box), box.x + inset, top + (many === 3 ? 37 : 46), WIDTH - inset - 10, font);
    if (many > 2) this.state(box, box.x + inset, top + 56, font);
    if (box.more) this.plus(box, first);
    if (box.ports.length > 0) this.columns(box, top, zoom);
    if (many > 1 && hasColumns(box)) this.handle(box, top + height);
  }

  private state(box: Box, x: number, y: number, font: string): void {
    const { context, colours } = this;
    const card = box.card;
    const word = wordOf(box);
    let at = x;
    if (word) {
      const colour = { "job failed": "bad", stale: "ore", current: "good" }[word] ?? "ink-2";
      context.fillStyle = colours[colour]!;
      context.strokeStyle = colours[colour]!;
      stateShape(context, word, x + 4, y);
      this.text(word, x + 13, y, WIDTH - 60, font);
      at = x + 13 + context.measureText(word).width;
    }
    if (card?.written) {
      context.fillStyle = colours["ink-2"]!;
      this.text(`${word ? " · " : ""}${ageOf(card.written)}`, at, y, x + WIDTH - 44 - at, font);
    }
  }

  private plus(box: Box, y: number): void {
    const { context, colours } = this;
    const x = box.x + WIDTH - 18;
    context.strokeStyle = colours.accent!;
    context.lineWidth = 1.5;
    context.beginPath();
    context.arc(x, y, 9, 0, 7);
    context.moveTo(x - 4, y);
    context.lineTo(x + 4, y);
    context.moveTo(x, y - 4);
    context.lineTo(x, y + 4);
    context.stroke();
  }

  // What opens a node to its columns, or closes it: a chevron in a pill on the lower edge.
  private handle(box: Box, y: number): void {
    const { context, colours } = this;
    const x = box.x + WIDTH / 2;
    context.beginPath();
    context.roundRect(x - HANDLE_WIDTH / 2, y - HANDLE_HEIGHT / 2, HANDLE_WIDTH, HANDLE_HEIGHT, HANDLE_HEIGHT / 2);
    context.fillStyle = colours.raised!;
    context.fill();
    context.lineWidth = 1;
    context.strokeStyle = colours.line!;
    context.stroke();
    const dip = box.ports.length > 0 ? -2.2 : 2.2;
    context.strokeStyle = colours["ink-2"]!;
    context.lineWidth = 1.6;
    context.beginPath();
    context.moveTo(x - 5, y - dip);
    context.lineTo(x, y + dip);
    context.lineTo(x + 5, y - dip);
    context.stroke();
  }

  private columns(box: Box, top: number, zoom: number): void {
    const { context, colours } = this;
    context.strokeStyle = colours.line!;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(box.x, top + HEIGHT - 1);
    context.lineTo(box.x + WIDTH, top + HEIGHT - 1);
    context.stroke();
    if (PORT_HEIGHT * zoom < LABEL_MIN) return;
    const font = `${Math.max(11.5, LABEL_MIN / zoom)}px ${colours.sans}`;
    const many = box.open ? box.ports.length : Math.min(PORTS_SHOWN, box.ports.length);
    for (let port = 0; port < many; port++) {
      context.fillStyle = colours["k-datasetField"]!;
      const y = portY(box, port);
      context.fillRect(box.x + 16, y - 4, 3.5, 8);
      context.fillStyle = colours.ink!;
      this.text(box.ports[port]!.name, box.x + 28, y, WIDTH - 38, font);
    }
    if (box.portsTotal > many) {
      context.fillStyle = colours.accent!;
      const rest = box.portsTotal - many;
      const where = box.open ? ", on its page" : "";
      this.text(`+${rest.toLocaleString("en")} column${rest === 1 ? "" : "s"}${where}`, box.x + 28, portY(box, many), WIDTH - 38, font);
    }
  }

  // Text cut to its room; what was cut once is remembered, since measuring is dear.
  private text(text: string, x: number, y: number, room: number, font: string): void {
    const { context } = this;
    context.font = font;
    const key = `${font}|${Math.round(room)}|${text}`;
    let cut = this.widths.get(key);
    if (cut === undefined) {
      cut = text;
      if (context.measureText(text).width > room) {
        let low = 0;
        let high = Math.min(text.length, 200);
        while (low < high) {
          const middle = (low + high + 1) >> 1;
          if (context.measureText(`${text.slice(0, middle)}…`).width <= room) low = middle;
          else high = middle - 1;
        }
        cut = low > 0 ? `${text.slice(0, low)}…` : "";
      }
      if (this.widths.size > 20_000) this.widths.clear();
      this.widths.set(key, cut);
    }
    context.fillText(cut, x, y);
  }
}

// Where the broken line of a box lies: to its left, or below the focus to its right.
export function gapLine(box: Box): { x: number; y: number; toX: number; free: boolean } {
  const right = !box.upstream && box.incoming.length > 0;
  const beside = (right ? box.outgoing : box.incoming).some(shown);
  const x = right ? box.x + WIDTH : box.x;
  const y = box.y - box.height / 2 + (beside ? 12 : Math.min(box.height, HEIGHT) / 2);
  return { x, y, toX: x + (right ? 58 : -58), free: !beside };
}

// Of a card that shows all of its columns that are at hand.
export function openHeight(box: Box): number {
  const rows = box.ports.length + (box.portsTotal > box.ports.length ? 1 : 0);
  return HEIGHT + rows * PORT_HEIGHT + 6;
}

function isThin(line: Line): boolean {
  return line.sourcePort >= 0 || line.targetPort >= 0;
}

export function shown(line: Line): boolean {
  return !line.source.hidden && !line.target.hidden;
}

function inView(line: Line, left: number, right: number, top: number, end: number): boolean {
  if (!shown(line)) return false;
  const { source, target } = line;
  const low = Math.min(source.x, target.x - 70);
  const high = Math.max(source.x + WIDTH + 70, target.x + WIDTH);
  if (high < left || low > right) return false;
  let above = Math.min(source.y, target.y) - 200;
  let below = Math.max(source.y, target.y) + 200;
  for (let i = 1; i < line.bends.length; i += 2) {
    above = Math.min(above, line.bends[i]!);
    below = Math.max(below, line.bends[i]!);
  }
  return below > top && above < end;
}

function trace(context: CanvasRenderingContext2D, points: number[]): void {
  context.moveTo(points[0]!, points[1]!);
  for (let i = 2; i < points.length; i += 6) {
    context.bezierCurveTo(
      points[i]!, points[i + 1]!, points[i + 2]!, points[i + 3]!, points[i + 4]!, points[i + 5]!,
    );
  }
}

function arrow(context: CanvasRenderingContext2D, line: Line, scale = 1): void {
  const x = line.source === line.target ? line.source.x + WIDTH : line.target.x;
  const y = line.source === line.target ? portY(line.source, -1) - 8 : portY(line.target, line.targetPort);
  const back = line.source === line.target ? -1 : 1;
  context.moveTo(x, y);
  context.lineTo(x - back * 8 * scale, y - 4 * scale);
  context.lineTo(x - back * 8 * scale, y + 4 * scale);
  context.closePath();
}

// That a node's job failed is told before how the node itself is.
export function wordOf(box: Box): string {
  const job = box.card?.job_state;
  return job === "failed" || job === "never ran" ? `job ${job}` : (box.card?.state ?? "");
}

export function detail(box: Box): string {
  const rows = box.card?.rows;
  const parts = [
    box.version || kindWord(box.kind),
    rows === null || rows === undefined ? "" : `${rows.toLocaleString("en")} rows`,
  ];
  return parts.filter(Boolean).join(" · ");
}

export function ageOf(written: string): string {
  const seconds = Math.floor((Date.now() - Date.parse(written)) / 1000);
  const units: [number, string][] = [
    [365 * 86_400, "y"], [30 * 86_400, "mo"], [86_400, "d"], [3_600, "h"], [60, "min"],
  ];
  for (const [unit, word] of units) {
    if (Math.abs(seconds) >= unit) {
      const text = `${Math.floor(Math.abs(seconds) / unit)} ${word}`;
      return seconds > 0 ? `${text} ago` : `in ${text}`;
    }
  }
  return "just now";
}

// The same shapes as in the style sheet.
const POLYGONS: Record<string, number[]> = {
  job: [-1, -1, 0.24, -1, 1, 0, 0.24, 1, -1, 1],
  feature: [0, -1, 1, 0, 0, 1, -1, 0],
  model: [-0.5, -0.92, 0.5, -0.92, 1, 0, 0.5, 0.92, -0.5, 0.92, -1, 0],
  deployment: [0, -1, 1, -0.2, 1, 1, -1, 1, -1, -0.2],
  prediction: [0, -0.96, 1, 0.92, -1, 0.92],
  row: [-1, -0.4, 1, -0.4, 1, 0.4, -1, 0.4],
  datasetField: [-0.45, -1, 0.45, -1, 0.45, 1, -0.45, 1],
  dataset: [-1, -1, 1, -1, 1, 1, -1, 1],
};

export function polygon(kind: string): number[] | null {
  return kind === "run" || kind === "agent" ? null : (POLYGONS[kind] ?? null);
}

function shape(
  context: CanvasRenderingContext2D,
  kind: string,
  x: number,
  y: number,
  r: number,
  colours: Colours,
): void {
  context.beginPath();
  if (kind === "hidden") {
    context.rect(x - r, y - r, 2 * r, 2 * r);
    context.setLineDash([3, 2]);
    context.lineWidth = 1.5;
    context.strokeStyle = colours["line-strong"]!;
    context.stroke();
    context.setLineDash([]);
    return;
  }
  const points = polygon(kind);
  if (points === null) context.arc(x, y, r, 0, 7);
  else {
    context.moveTo(x + points[0]! * r, y + points[1]! * r);
    for (let i = 2; i < points.length; i += 2) context.lineTo(x + points[i]! * r, y + points[i + 1]! * r);
    context.closePath();
  }
  context.fill();
}

function stateShape(context: CanvasRenderingContext2D, word: string, x: number, y: number): void {
  context.lineWidth = 1.8;
  context.beginPath();
  if (word === "job failed") {
    context.moveTo(x - 4, y - 4);
    context.lineTo(x + 4, y + 4);
    context.moveTo(x + 4, y - 4);
    context.lineTo(x - 4, y + 4);
    context.stroke();
  } else if (word === "stale") {
    context.moveTo(x - 4, y - 4.5);
    context.lineTo(x + 4, y - 4.5);
    context.lineTo(x - 4, y + 4.5);
    context.lineTo(x + 4, y + 4.5);
    context.closePath();
    context.fill();
  } else if (word === "never ran" || word === "job never ran") {
    context.arc(x, y, 3.6, 0, 7);
    context.stroke();
  } else if (word === "current") {
    context.arc(x, y, 3.6, 0, 7);
    context.fill();
  } else {
    context.setLineDash([2, 2]);
    context.strokeRect(x - 3.5, y - 3.5, 7, 7);
    context.setLineDash([]);
  }
}
