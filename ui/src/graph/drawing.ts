// The whole graph as an SVG file: the same boxes and lines as on the canvas, as text.

import { HEIGHT, PORT_HEIGHT, PORTS_SHOWN, WIDTH, type Box, type Graph } from "./model";
import { colourOf, curve, detail, gapLine, polygon, portY, shown, wordOf, type Colours } from "./paint";

const MARGIN = 40;

export interface Bounds {
  left: number;
  top: number;
  width: number;
  height: number;
}

// Where some of the boxes lie, all of them by default, with their broken lines and some margin.
export function bounds(some: Box[], words = WIDTH, margin = MARGIN): Bounds {
  let left = Number.POSITIVE_INFINITY;
  let top = Number.POSITIVE_INFINITY;
  let right = Number.NEGATIVE_INFINITY;
  let end = Number.NEGATIVE_INFINITY;
  for (const box of some) {
    if (box.hidden) continue;
    const { x, toX } = gapLine(box);
    const beside = box.gaps.length > 0 ? (toX < x ? -words : words) : 0;
    left = Math.min(left, box.x + Math.min(0, beside));
    right = Math.max(right, box.x + WIDTH + Math.max(0, beside));
    top = Math.min(top, box.y - box.height / 2);
    end = Math.max(end, box.y + box.height / 2);
  }
  return {
    left: left - margin, top: top - margin,
    width: right - left + 2 * margin, height: end - top + 2 * margin,
  };
}

export function drawing(graph: Graph, colours: Colours, title: string): string {
  const { left, top, width, height } = bounds(graph.boxes);
  const lines = graph.lines.filter(shown).map((line) => {
    const points = curve(line);
    let path = `M${points[0]!.toFixed(1)} ${points[1]!.toFixed(1)}`;
    for (let i = 2; i < points.length; i += 6) {
      path += `C${points.slice(i, i + 6).map((one) => one.toFixed(1)).join(" ")}`;
    }
    const dash = ["", ' stroke-dasharray="7 5"', ' stroke-dasharray="1.5 5"'][line.style];
    const colour = line.stale ? colours.ore : colours["line-strong"];
    return `<path d="${path}" fill="none" stroke="${colour}" stroke-width="1.4"${dash} marker-end="url(#end)"/>`;
  });
  const boxes = graph.boxes.filter((box) => !box.hidden).map((box) => card(box, box === graph.root, colours));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="${left} ${top} ${width} ${height}" width="${width}" height="${height}" font-family="system-ui, sans-serif">`,
    `<title>${escape(title)}</title>`,
    `<defs><marker id="end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8Z" fill="${colours["line-strong"]}"/></marker></defs>`,
    `<rect x="${left}" y="${top}" width="${width}" height="${height}" fill="${colours.paper}"/>`,
    ...lines, ...boxes, "</svg>",
  ].join("\n");
}

function card(box: Box, root: boolean, colours: Colours): string {
  const top = box.y - box.height / 2;
  const stub = box.kind === "stub";
  const dash = stub || box.kind === "hidden" ? ' stroke-dasharray="4 4"' : "";
  const parts = [
    `<g><title>${escape(box.id || box.name)}</title>`,
    `<rect x="${box.x}" y="${top}" width="${WIDTH}" height="${box.height}" rx="8" fill="${root ? colours["accent-soft"] : colours.raised}" stroke="${root ? colours.accent : colours.line}"${dash}/>`,
  ];
  const x = box.x + (stub ? 16 : 34);
  const first = top + (stub ? 21 : 24);
  if (!stub) parts.push(mark(box, box.x + 18, top + 19, colours));
  parts.push(text(cut(box.name, 26), x, first, 13, colours.ink!, 600));
  if (!stub) {
    parts.push(text(cut(detail(box), 34), x, top + 43, 11.5, colours["ink-2"]!, 400));
    const state = wordOf(box);
    if (state) parts.push(text(state, x, top + 61, 11.5, colours["ink-2"]!, 400));
  }
  box.ports.slice(0, box.open ? undefined : PORTS_SHOWN).forEach((port, at) => {
    parts.push(text(cut(port.name, 32), box.x + 28, portY(box, at) + 4, 11.5, colours.ink!, 400));
  });
  if (!box.open && box.portsTotal > PORTS_SHOWN) {
    const y = top + HEIGHT + PORTS_SHOWN * PORT_HEIGHT + 13;
    parts.push(text(`+${box.portsTotal - PORTS_SHOWN} columns`, box.x + 28, y, 11.5, colours.accent!, 400));
  }
  if (box.gaps.length > 0) {
    const { x, y, toX } = gapLine(box);
    parts.push(
      `<path d="M${x} ${y}H${toX}" stroke="${colours.ore}" stroke-width="2" stroke-dasharray="8 7"><title>${escape(box.gaps.join("; "))}</title></path>`,
      text("?", toX < x ? toX - 12 : toX + 5, y + 4, 12, colours.ore!, 600),
    );
  }
  return [...parts, "</g>"].join("");
}

function mark(box: Box, x: number, y: number, colours: Colours): string {
  const r = 6.5;
  const points = polygon(box.kind);
  const fill = colourOf(box, colours);
  if (points === null) return `<circle cx="${x}" cy="${y}" r="${r}" fill="${fill}"/>`;
  const at: string[] = [];
  for (let i = 0; i < points.length; i += 2) at.push(`${x + points[i]! * r},${y + points[i + 1]! * r}`);
  return `<polygon points="${at.join(" ")}" fill="${fill}"/>`;
}

function text(shown: string, x: number, y: number, size: number, fill: string, weight: number): string {
  return `<text x="${x}" y="${y}" font-size="${size}" font-weight="${weight}" fill="${fill}">${escape(shown)}</text>`;
}

function cut(shown: string, characters: number): string {
  const all = Array.from(shown);
  return all.length > characters ? `${all.slice(0, characters - 1).join("")}…` : shown;
}

function escape(shown: string): string {
  return shown.replace(/[&<>"']/g, (one) => `&#${one.charCodeAt(0)};`);
}
