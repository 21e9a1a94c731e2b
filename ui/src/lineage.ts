// The graph of a lineage page: drawn on a canvas, walked by keys or pointer; a large one is laid out
// in a worker.
// The table below the page says the same; `T` changes between them.

import { type Bounds, bounds, drawing } from "./graph/drawing";
import { layOut, type Placed, type Wish } from "./graph/layered";
import {
  type Box, type Card, type Columns, Graph, hasColumns, HEIGHT, type Line, PORTS_SHOWN, type Sent, WIDTH,
} from "./graph/model";
import {
  type Chosen, curve, HANDLE_HEIGHT, HANDLE_WIDTH, MARKS_BELOW, openHeight, Painter, portY, readColours, shown,
  type View, wordOf,
} from "./graph/paint";
import { kindWord, nodeUrl, parse, visible } from "./shared/nodes";

const ZOOM_MIN = 0.02;
const ZOOM_MAX = 2.5;
// The first view shows all of it down to this zoom; of what is larger, what is around the focus.
const ZOOM_FIRST_MIN = 0.74;
// Of what is larger, as many whole columns around the focus as fit at this zoom: its cards can
// still be read, and one that the edge cuts tells nothing.
const ZOOM_AROUND_MIN = 0.66;
// On a narrow screen, so that something stands beside the focus.
const ZOOM_NARROW_MIN = 0.6;
const AROUND_MARGIN = 16;
// A broken line with its "?", without its words.
const GAP_WIDTH = 80;
const CARDS_AT_ONCE = 24;
// The nearest nodes, which the first view shows: asked for while the worker finds places.
const CARDS_FIRST = 12;
// Characters of a graph, some 800 nodes, that is built and laid out here, in one short step:
// starting a worker takes longer than finding the places.
const LAID_OUT_HERE_MAX = 40_000;
const OPENED_MAX = 8;

class GraphPage {
  readonly chosen: Chosen = { box: null, line: null };
  readonly view: View = { x: WIDTH / 2, y: 0, zoom: 1, width: 1, height: 1 };
  private readonly canvas = document.createElement("canvas");
  private readonly painter: Painter;
  private seen: Box[] = [];
  private dirty = false;
  private placed = false;
  private moved = false;
  private asking = 0;
  private panelAsked: AbortController | null = null;

  constructor(
    private readonly section: HTMLElement,
    private readonly place: HTMLElement,
    private readonly graph: Graph,
  ) {
    this.canvas.setAttribute("aria-hidden", "true");
    place.append(this.canvas);
    this.painter = new Painter(this.canvas.getContext("2d", { alpha: false })!, readColours());
    this.listen();
  }

  show(): void {
    this.placed = true;
    this.resize();
    this.first();
    this.restore();
    this.tellColumns();
    this.paint();
    performance.mark("lodeline:graph-ready");
    this.section.dataset.ready = String(this.graph.shown().length);
  }

  // ── View ──────────────────────────────────────────────────────────────────────────────────────

  private resize(): void {
    const ratio = window.devicePixelRatio || 1;
    const { width, height } = this.place.getBoundingClientRect();
    if (width === 0) return;
    this.view.width = width;
    this.view.height = height;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.refresh();
  }

  private first(): void {
    this.fit();
    if (this.view.zoom < ZOOM_FIRST_MIN) this.around();
  }

  private around(): void {
    const { view } = this;
    const columns = new Map<number, Box[]>();
    for (const box of this.graph.shown()) {
      const column = columns.get(box.x);
      if (column) column.push(box);
      else columns.set(box.x, [box]);
    }
    const order = [...columns.keys()].sort((a, b) => a - b);
    const middle = order.indexOf(this.graph.root.x);
    let [first, last] = [middle, middle];
    const of = (from: number, to: number, room: number): Bounds =>
      bounds(order.slice(from, to + 1).flatMap((x) => columns.get(x)!), room, AROUND_MARGIN);
    const two = Math.min(...[[middle - 1, middle], [middle, middle + 1]].map(([from, to]) =>
      order[from!] === undefined || order[to!] === undefined ? Number.POSITIVE_INFINITY : of(from!, to!, GAP_WIDTH).width,
    ));
    const least = two * ZOOM_AROUND_MIN <= view.width ? ZOOM_AROUND_MIN : ZOOM_NARROW_MIN;
    const fits = (found: Bounds): boolean => found.width * least <= view.width;
    for (let grew = true; grew; ) {
      grew = false;
      for (const side of [-1, 1]) {
        const [from, to] = side < 0 ? [first - 1, last] : [first, last + 1];
        if (from < 0 || to >= order.length || !fits(of(from, to, GAP_WIDTH))) continue;
        [first, last] = [from, to];
        grew = true;
      }
    }
    const found = [GAP_WIDTH, WIDTH].map((room) => of(first, last, room)).filter(fits).pop() ?? of(first, last, GAP_WIDTH);
    const zoom = Math.min(1, view.width / found.width, view.height / found.height);
    view.zoom = Math.max(least, zoom);
    view.x = found.left + found.width / 2;
    // Where not all of their cards find room, those around the focus do.
    const whole = found.height * view.zoom <= view.height;
    view.y = whole ? found.top + found.height / 2 : this.graph.root.y;
    this.refresh();
  }

  private fit(): void {
    const { left, top, width, height } = bounds(this.graph.boxes);
    const zoom = Math.min(1, this.view.width / width, this.view.height / height);
    this.view.zoom = Math.max(ZOOM_MIN, zoom);
    this.view.x = left + width / 2;
    this.view.y = top + height / 2;
    this.refresh();
  }

  private focus(zoom = Math.max(this.view.zoom, ZOOM_FIRST_MIN)): void {
    const { root } = this.graph;
    this.view.zoom = zoom;
    // In the middle; where one side has nothing, the other gets its room.
    const aside = (root.outgoing.some(shown) ? 0 : 1) - (root.incoming.some(shown) ? 0 : 1);
    this.view.x = root.x + WIDTH / 2 - aside * Math.max(0, this.view.width / zoom / 2 - WIDTH);
    this.view.y = root.y;
    this.refresh();
  }

  private zoomBy(factor: number, x = this.view.width / 2, y = this.view.height / 2): void {
    const zoom = Math.min(ZOOM_MAX, Math.max(ZOOM_MIN, this.view.zoom * factor));
    const dx = x - this.view.width / 2;
    const dy = y - this.view.height / 2;
    this.view.x += dx / this.view.zoom - dx / zoom;
    this.view.y += dy / this.view.zoom - dy / zoom;
    this.view.zoom = zoom;
    this.refresh();
  }

  private bring(box: Box): void {
    const { view } = this;
    if (view.zoom < MARKS_BELOW) view.zoom = ZOOM_FIRST_MIN;
    const halfWidth = view.width / 2 / view.zoom - 24 / view.zoom;
    const halfHeight = view.height / 2 / view.zoom - 24 / view.zoom;
    view.x = Math.min(Math.max(view.x, box.x + WIDTH - halfWidth), box.x + halfWidth);
    const top = box.y - box.height / 2;
    view.y = Math.min(Math.max(view.y, top + Math.min(box.height, HEIGHT) - halfHeight), top + halfHeight);
    this.refresh();
  }

  refresh(): void {
    if (this.dirty) return;
    this.dirty = true;
    requestAnimationFrame(() => this.paint());
  }

  private paint(): void {
    this.dirty = false;
    // Before the layout is there, all boxes lie over each other.
    if (!this.placed) return;
    const ratio = window.devicePixelRatio || 1;
    this.seen = this.painter.paint(this.graph, this.view, this.chosen, ratio);
    this.section.dataset.drawn = String(this.seen.length);
    this.section.dataset.cut = String(this.cut());
    this.section.dataset.zoom = this.view.zoom.toFixed(2);
    clearTimeout(this.asking);
    this.asking = window.setTimeout(() => void this.describe(), 180);
  }

  // How many cards the left or right edge cuts.
  private cut(): number {
    const half = this.view.width / 2 / this.view.zoom;
    const [left, right] = [this.view.x - half, this.view.x + half];
    return this.seen.filter((box) => box.x < left || box.x + WIDTH > right).length;
  }

  // ── What nodes are like, asked for as they come into view ─────────────────────────────────────

  private async describe(): Promise<void> {
    if (this.view.zoom * HEIGHT < 34) return;
    const some = this.seen.filter(isDescribed).slice(0, CARDS_AT_ONCE);
    if (some.length > 0 && (await describe(some, this.graph.sent.moment))) this.refresh();
  }

  // ── Pointer ───────────────────────────────────────────────────────────────────────────────────

  private listen(): void {
    new ResizeObserver(() => this.resize()).observe(this.place);
    const recolour = (): void => {
      this.painter.colours = readColours();
      this.refresh();
    };
    window.addEventListener("lodeline:theme", recolour);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
    this.drag();
    this.place.addEventListener(
      "wheel",
      (event) => {
        // The page keeps its wheel until the graph is chosen, or a modifier says so.
        if (!event.ctrlKey && !event.metaKey && document.activeElement !== this.place) return;
        event.preventDefault();
        const { left, top } = this.place.getBoundingClientRect();
        this.zoomBy(Math.exp(-event.deltaY * 0.0016), event.clientX - left, event.clientY - top);
      },
      { passive: false },
    );
    this.place.addEventListener("keydown", (event) => this.key(event));
    this.place.addEventListener("dblclick", () => {
      if (this.chosen.box?.id) window.location.assign(nodeUrl(this.chosen.box.id));
    });
    for (const button of this.section.querySelectorAll<HTMLElement>("[data-zoom]")) {
      button.addEventListener("click", () => {
        const what = button.dataset.zoom;
        if (what === "in") this.zoomBy(1.3);
        else if (what === "out") this.zoomBy(1 / 1.3);
        else if (what === "fit") this.fit();
        else this.focus();
      });
    }
    for (const button of this.section.querySelectorAll<HTMLElement>("[data-export]")) {
      button.addEventListener("click", () => this.save(button.dataset.export ?? ""));
    }
  }

  private drag(): void {
    const pointers = new Map<number, PointerEvent>();
    this.place.addEventListener("pointerdown", (event) => {
      pointers.set(event.pointerId, event);
      this.moved = false;
      this.place.setPointerCapture(event.pointerId);
    });
    this.place.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) {
        this.place.classList.toggle("over", this.hit(event) !== null);
        return;
      }
      if (pointers.size === 1) {
        const dx = event.clientX - before.clientX;
        const dy = event.clientY - before.clientY;
        if (!this.moved && Math.hypot(dx, dy) < 4) return;
        this.moved = true;
        this.view.x -= dx / this.view.zoom;
        this.view.y -= dy / this.view.zoom;
        this.refresh();
      } else {
        const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
        if (other) {
          const distance = (a: PointerEvent): number =>
            Math.hypot(a.clientX - other.clientX, a.clientY - other.clientY);
          this.moved = true;
          this.zoomBy(distance(event) / Math.max(1, distance(before)));
        }
      }
      pointers.set(event.pointerId, event);
    });
    const lift = (event: PointerEvent): void => {
      const down = pointers.delete(event.pointerId);
      if (down && !this.moved && event.type === "pointerup") this.click(event);
    };
    this.place.addEventListener("pointerup", lift);
    this.place.addEventListener("pointercancel", lift);
  }

  private world(event: PointerEvent): { x: number; y: number } {
    const { left, top } = this.place.getBoundingClientRect();
    return {
      x: (event.clientX - left - this.view.width / 2) / this.view.zoom + this.view.x,
      y: (event.clientY - top - this.view.height / 2) / this.view.zoom + this.view.y,
    };
  }

  private hit(event: PointerEvent): Box | Line | null {
    const { x, y } = this.world(event);
    const handle = this.handleAt(x, y);
    if (handle) return handle;
    for (let at = this.seen.length - 1; at >= 0; at--) {
      const box = this.seen[at]!;
      const half = box.height / 2;
      if (x >= box.x && x <= box.x + WIDTH && y >= box.y - half && y <= box.y + half) return box;
    }
    if (this.view.zoom < MARKS_BELOW) return null;
    const near = 8 / this.view.zoom;
    let best: Line | null = null;
    let least = near * near;
    for (const line of this.graph.lines) {
      if (!shown(line) || !this.seen.length) continue;
      const distance = distanceTo(curve(line), x, y, least);
      if (distance < least) {
        least = distance;
        best = line;
      }
    }
    return best;
  }

  // The node whose handle is there; it may be pressed somewhat beside it.
  private handleAt(x: number, y: number): Box | null {
    if (this.view.zoom < MARKS_BELOW) return null;
    const found = this.seen.find((box) => {
      const height = box.open ? openHeight(box) : box.height;
      const end = box.y - box.height / 2 + height;
      return (
        hasColumns(box) && Math.abs(x - box.x - WIDTH / 2) < HANDLE_WIDTH / 2 + 6 &&
        Math.abs(y - end) < HANDLE_HEIGHT / 2 + 4
      );
    });
    return found ?? null;
  }

  private click(event: PointerEvent): void {
    this.place.focus({ preventScroll: true });
    const found = this.hit(event);
    if (found === null) {
      this.choose(null, null);
      return;
    }
    if ("source" in found) {
      this.choose(null, found);
      return;
    }
    const { x, y } = this.world(event);
    if (found.kind === "stub") this.expand(found);
    else if (found.more && x > found.x + WIDTH - 34 && y < found.y - found.height / 2 + 36) void this.grow(found);
    else if (this.handleAt(x, y) === found) {
      this.choose(found, null);
      void this.openColumns(found);
    } else if (!found.open && found.portsTotal > PORTS_SHOWN && y > portY(found, PORTS_SHOWN) - 9) {
      found.open = true;
      this.choose(found, null);
    } else this.choose(found, null);
  }

  private expand(stub: Box): void {
    const added = this.graph.expand(stub);
    this.say(`${added.length} more shown, ${stub.members.length} still together`);
    this.choose(added[0] ?? null, null);
  }

  private async grow(box: Box): Promise<void> {
    const direction = box === this.graph.root ? "both" : box.upstream ? "up" : "down";
    const query = new URLSearchParams({ direction, depth: "1" });
    for (const [name, value] of Object.entries(this.graph.sent.moment)) if (value) query.set(name, value);
    try {
      const answer = await fetch(`${nodeUrl(box.id, "lineage")}.json?${query}`);
      if (!answer.ok) throw new Error(String(answer.status));
      const facts = (await answer.json()) as { graph: Sent["graph"]; cards: Record<string, Card> };
      const added = this.graph.grow(box, facts.graph, facts.cards);
      this.say(`${added.length} more shown beyond ${box.name}`);
      this.refresh();
    } catch {
      this.say("The service does not answer; what is shown stays. Try again.");
    }
  }

  // ── Columns of single nodes ───────────────────────────────────────────────────────────────────

  private async openColumns(box: Box): Promise<void> {
    if (!hasColumns(box)) {
      this.say(`A ${kindWord(box.kind)} has no columns to open`);
      return;
    }
    if (!box.opened && box.ports.length > 0) {
      this.say("The columns of all nodes are shown. Without “Columns” above, one node opens at a time.");
      return;
    }
    const wanted = this.graph.opened().filter((one) => one !== box);
    if (!box.opened) wanted.push(box);
    if (wanted.length > OPENED_MAX) {
      this.say(`${OPENED_MAX} nodes are open; close one first`);
      return;
    }
    try {
      const columns = await this.askColumns(wanted);
      const closes = box.opened;
      this.graph.setColumns(box, closes ? null : columns);
      if (closes && wanted.length > 0) this.graph.tieColumns(columns);
      const told = `${box.portsTotal.toLocaleString("en")} column${box.portsTotal === 1 ? "" : "s"}`;
      this.say(closes ? `${box.name} is closed` : `${box.name} is open: ${told}`);
    } catch {
      this.say("The service does not answer; what is shown stays. Try again.");
      return;
    }
    const url = new URL(window.location.href);
    if (wanted.length > 0) url.searchParams.set("open", JSON.stringify(wanted.map((one) => one.id)));
    else url.searchParams.delete("open");
    history.replaceState(null, "", url);
    if (this.chosen.box === box) this.showBox(box);
    this.tellColumns();
    this.refresh();
  }

  private tellColumns(): void {
    this.section.dataset.opened = String(this.graph.opened().length);
    this.section.dataset.columnEdges = String(this.graph.lines.filter((line) => line.ofColumns).length);
  }

  private async askColumns(boxes: Box[]): Promise<Columns> {
    if (boxes.length === 0) return { nodes: {}, edges: [] };
    const query = new URLSearchParams(boxes.map((box) => ["id", box.id]));
    for (const [name, value] of Object.entries(this.graph.sent.moment)) if (value) query.set(name, value);
    const answer = await fetch(`/columns.json?${query}`);
    if (!answer.ok) throw new Error(String(answer.status));
    return (await answer.json()) as Columns;
  }

  // ── Keys: left and right walk along edges, up and down among those that lead the same way ────

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const box = this.chosen.box ?? this.chosen.line?.target ?? this.graph.root;
    const walk: Record<string, () => void> = {
      ArrowLeft: () => this.walk(box.incoming.filter(shown), "source", box),
      ArrowRight: () => this.walk(box.outgoing.filter(shown), "target", box),
      ArrowUp: () => this.beside(box, -1),
      ArrowDown: () => this.beside(box, 1),
      Home: () => this.choose(this.graph.root, null, true),
      Enter: () => this.enter(box),
      "+": () => this.zoomBy(1.3),
      "=": () => this.zoomBy(1.3),
      "-": () => this.zoomBy(1 / 1.3),
      "0": () => this.fit(),
      c: () => void this.openColumns(box),
      C: () => void this.openColumns(box),
      Escape: () => this.choose(null, null),
    };
    const act = walk[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  private walk(lines: Line[], end: "source" | "target", box: Box): void {
    if (lines.length === 0) {
      const side = end === "source" ? "upstream" : "downstream";
      this.say(`Nothing ${side} of ${box.name} is shown${box.more ? "; Enter on it shows more" : ""}`);
      return;
    }
    const nearest = [...lines].sort((a, b) => Math.abs(a[end].y - box.y) - Math.abs(b[end].y - box.y));
    const line = nearest[0]!;
    this.choose(line[end], line, true);
  }

  private beside(box: Box, step: number): void {
    const column = this.graph.boxes
      .filter((one) => !one.hidden && Math.abs(one.x - box.x) < 1)
      .sort((a, b) => a.y - b.y);
    const next = column[column.indexOf(box) + step];
    if (next) this.choose(next, null, true);
    else this.say(step < 0 ? "The first of its column" : "The last of its column");
  }

  private enter(box: Box): void {
    if (box.kind === "stub") this.expand(box);
    else if (box.more) void this.grow(box);
    else if (box.id && box.kind !== "hidden") window.location.assign(nodeUrl(box.id));
  }

  // ── Choosing, and telling of what is chosen ───────────────────────────────────────────────────

  private choose(box: Box | null, line: Line | null, walked = false): void {
    this.chosen.box = box;
    this.chosen.line = line;
    if (box && walked) this.bring(box);
    if (box) this.say(this.told(box, line));
    else if (line) this.say(`Edge from ${line.source.name} to ${line.target.name}`);
    this.remember(line);
    if (line && line.source.kind !== "stub" && line.target.kind !== "stub") void this.showEdge(line);
    else this.showBox(box);
    this.refresh();
  }

  private told(box: Box, line: Line | null): string {
    const card = box.card;
    return [
      line ? `${["asserted", "declared", "inferred"][line.style]} edge to` : "",
      `${kindWord(box.kind)} ${box.name}`,
      wordOf(box),
      card?.rows != null ? `${card.rows} rows` : "",
      `${box.incoming.filter(shown).length} in, ${box.outgoing.filter(shown).length} out`,
      box.gaps.length > 0 ? `unknown: ${box.gaps.join("; ")}` : "",
    ]
      .filter(Boolean)
      .join(", ");
  }

  private say(text: string): void {
    const place = this.section.querySelector("[data-said]");
    if (place) place.textContent = text;
  }

  private remember(line: Line | null): void {
    const url = new URL(window.location.href);
    url.searchParams.delete("edge_source");
    url.searchParams.delete("edge_target");
    if (line?.sourceId && line.targetId) {
      url.searchParams.set("edge_source", line.sourceId);
      url.searchParams.set("edge_target", line.targetId);
    }
    if (url.href !== window.location.href) history.replaceState(null, "", url);
  }

  private restore(): void {
    const query = new URL(window.location.href).searchParams;
    const [source, target] = [query.get("edge_source"), query.get("edge_target")];
    if (!source || !target) return;
    const line = this.graph.lines.find((one) => one.sourceId === source && one.targetId === target);
    if (line && shown(line)) this.chosen.line = line;
  }

  // The same text as on the edge's own page: it is that page's.
  private async showEdge(line: Line): Promise<void> {
    const panel = this.section.querySelector<HTMLElement>("[data-panel]");
    if (!panel) return;
    this.panelAsked?.abort();
    this.panelAsked = new AbortController();
    const query = new URLSearchParams({ source: line.sourceId, target: line.targetId });
    for (const [name, value] of Object.entries(this.graph.sent.moment)) if (value) query.set(name, value);
    try {
      const answer = await fetch(`/edge?${query}`, {
        signal: this.panelAsked.signal,
        headers: { Accept: "text/html" },
      });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const found = page.querySelector("[data-edge], main");
      if (found) panel.replaceChildren(document.importNode(found, true));
      if (document.documentElement.classList.contains("copies")) {
        for (const button of panel.querySelectorAll<HTMLElement>(".copy")) button.hidden = false;
      }
    } catch (error) {
      if ((error as Error).name === "AbortError") return;
      const note = document.createElement("p");
      note.textContent = "The service does not answer. The graph stays as it is; choose again to ask again.";
      panel.replaceChildren(note);
    }
  }

  private showBox(box: Box | null): void {
    const panel = this.section.querySelector<HTMLElement>("[data-panel]");
    if (!panel) return;
    this.panelAsked?.abort();
    panel.replaceChildren();
    if (!box || box.kind === "stub") return;
    const head = document.createElement("h2");
    head.textContent = box.name;
    panel.append(head);
    if (box.kind === "hidden") {
      const note = document.createElement("p");
      const rule = document.querySelector("[data-sight]")?.textContent;
      note.textContent = rule ?? "You may not see this node. Whoever gave you your key can tell more.";
      panel.append(note);
      return;
    }
    const list = document.createElement("dl");
    list.className = "facts";
    const { namespace, name, version } = parse(box.id);
    const facts: [string, string][] = [
      ["Kind", kindWord(box.kind)], ["Namespace", namespace], ["Name", name], ["Version", version],
      ["State", box.card?.state ?? ""], ["Last run of its job", box.card?.job_state ?? ""],
      ["Written", box.card?.written ?? ""],
      ["Rows", box.card?.rows != null ? box.card.rows.toLocaleString("en") : ""],
      ["Unknown", box.gaps.join("; ")],
    ];
    for (const [word, value] of facts) {
      if (!value) continue;
      const term = document.createElement("dt");
      term.textContent = word;
      const told = document.createElement("dd");
      told.textContent = visible(value);
      list.append(term, told);
    }
    const links = document.createElement("p");
    links.className = "links";
    for (const [word, url] of [["Open", nodeUrl(box.id)], ["Focus here", nodeUrl(box.id, "lineage")], ["Rows", nodeUrl(box.id, "rows")]] as const) {
      const link = document.createElement("a");
      link.href = url;
      link.textContent = word;
      links.append(link, " ");
    }
    panel.append(list, links);
    if (hasColumns(box)) panel.append(this.columnsButton(box));
  }

  private columnsButton(box: Box): HTMLElement {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "plain";
    button.textContent = "Columns";
    button.setAttribute("aria-pressed", String(box.ports.length > 0));
    button.setAttribute("aria-keyshortcuts", "c");
    button.addEventListener("click", () => {
      void this.openColumns(box).then(() => {
        // The panel is made anew: whoever pressed it by key stays on it.
        this.section.querySelector<HTMLElement>("[data-panel] button[aria-pressed]")?.focus();
      });
    });
    return button;
  }

  // ── Export ────────────────────────────────────────────────────────────────────────────────────

  private save(form: string): void {
    const title = document.querySelector("h1")?.textContent ?? "Lineage";
    if (form === "svg") {
      const text = drawing(this.graph, this.painter.colours, title);
      download(new Blob([text], { type: "image/svg+xml" }), "lineage.svg");
      return;
    }
    const { left, top, width, height } = bounds(this.graph.boxes);
    // Larger canvases are not given out by browsers.
    const zoom = Math.min(2, 8_000 / width, 8_000 / height);
    const canvas = document.createElement("canvas");
    canvas.width = Math.ceil(width * zoom);
    canvas.height = Math.ceil(height * zoom);
    const context = canvas.getContext("2d");
    if (!context) return;
    const view = { x: left + width / 2, y: top + height / 2, zoom, width: width * zoom, height: height * zoom };
    new Painter(context, this.painter.colours).paint(this.graph, view, { box: null, line: null }, 1);
    canvas.toBlob((blob) => {
      if (blob) download(blob, "lineage.png");
    });
  }
}

function download(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// The least squared distance from a point to a curve, looked at in sixteen places of each piece.
function distanceTo(points: number[], x: number, y: number, enough: number): number {
  let least = enough;
  let [fromX, fromY] = [points[0]!, points[1]!];
  for (let i = 2; i < points.length; i += 6) {
    const [ax, ay, bx, by, toX, toY] = points.slice(i, i + 6) as [number, number, number, number, number, number];
    for (let step = 0; step <= 16; step++) {
      const t = step / 16;
      const u = 1 - t;
      const dx = u * u * u * fromX + 3 * u * u * t * ax + 3 * u * t * t * bx + t * t * t * toX - x;
      const dy = u * u * u * fromY + 3 * u * u * t * ay + 3 * u * t * t * by + t * t * t * toY - y;
      least = Math.min(least, dx * dx + dy * dy);
    }
    [fromX, fromY] = [toX, toY];
  }
  return least;
}

function isDescribed(box: Box): boolean {
  return !box.asked && /^(dataset|model|deployment|feature)$/.test(box.kind);
}

// Asks what nodes are like; whether that was told.
async function describe(some: Box[], moment: Sent["moment"]): Promise<boolean> {
  for (const box of some) box.asked = true;
  const query = new URLSearchParams(some.map((box) => ["id", box.id]));
  for (const [name, value] of Object.entries(moment)) if (value) query.set(name, value);
  try {
    const answer = await fetch(`/cards.json?${query}`);
    if (!answer.ok) return false;
    const { cards } = (await answer.json()) as { cards: Record<string, Card> };
    for (const box of some) box.card = cards[box.id] ?? null;
    return true;
  } catch {
    // The service is away: the graph stays as it is, and is asked again when it is.
    for (const box of some) box.asked = false;
    return false;
  }
}

// ── Controls around the graph ───────────────────────────────────────────────────────────────────

function askOnChange(): void {
  for (const form of document.querySelectorAll<HTMLFormElement>("[data-asks]")) {
    const button = form.querySelector("button");
    if (button) button.hidden = true;
    form.addEventListener("change", (event) => {
      if (!(event.target as Element).matches("[type=range]")) form.requestSubmit();
    });
  }
}

// The states of the log at which the graph changed, as ticks of a slider.
function slide(): void {
  const label = document.querySelector<HTMLElement>("[data-moments]");
  const select = label?.querySelector("select");
  if (!label || !select || select.options.length < 3) return;
  const options = [...select.options];
  // "Now" comes first in the list and last on the slider.
  const order = [...options.slice(1), options[0]!];
  const slider = document.createElement("input");
  slider.type = "range";
  slider.min = "0";
  slider.max = String(order.length - 1);
  slider.value = String(order.findIndex((one) => one.selected));
  slider.setAttribute("aria-label", "As of");
  const ticks = document.createElement("datalist");
  ticks.id = "moments";
  order.forEach((_, at) => ticks.append(new Option("", String(at))));
  slider.setAttribute("list", ticks.id);
  const output = document.createElement("output");
  const tell = (): void => {
    const option = order[Number(slider.value)];
    const seen = option?.dataset.seen;
    const time = seen ? `, ${seen.slice(0, 16).replace("T", " ")} UTC` : "";
    output.textContent = `${option?.textContent ?? ""}${time}`;
    slider.setAttribute("aria-valuetext", output.textContent);
  };
  slider.addEventListener("input", tell);
  slider.addEventListener("change", () => {
    const option = order[Number(slider.value)];
    if (!option) return;
    select.value = option.value;
    select.form?.requestSubmit();
  });
  tell();
  select.hidden = true;
  label.append(slider, ticks, output);
}

// The table instead of the graph, and back; the address says which.
function twin(section: HTMLElement): void {
  const table = document.querySelector<HTMLElement>("[data-table]");
  if (!table) return;
  const change = (): void => {
    const tabled = table.classList.toggle("shown");
    section.hidden = tabled;
    const url = new URL(window.location.href);
    if (tabled) url.searchParams.set("view", "table");
    else url.searchParams.delete("view");
    history.replaceState(null, "", url);
    const there = tabled ? table.querySelector<HTMLElement>(".scroll") : section.querySelector<HTMLElement>("[data-canvas]");
    there?.focus();
  };
  document.addEventListener("keydown", (event) => {
    if (event.key !== "t" && event.key !== "T") return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if ((event.target as Element).closest("input, select, textarea")) return;
    event.preventDefault();
    change();
  });
  for (const button of document.querySelectorAll("[data-twin]")) {
    button.addEventListener("click", (event) => {
      event.preventDefault();
      change();
    });
  }
}

function closeMenus(): void {
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll<HTMLDetailsElement>("details.menu[open]")) {
      if (!menu.contains(event.target as Node)) menu.open = false;
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of document.querySelectorAll<HTMLDetailsElement>("details.menu[open]")) {
      menu.open = false;
      menu.querySelector("summary")?.focus();
    }
  });
}

// Lets what waits have its turn: no step of a large graph holds the page up for long.
function pause(): Promise<void> {
  const { scheduler } = window as { scheduler?: { yield?: () => Promise<void> } };
  if (scheduler?.yield) return scheduler.yield();
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => resolve();
    port2.postMessage(null);
  });
}

// Starts the worker, which loads while the page builds what it is to find places for.
function startWorker(section: HTMLElement): (wish: Wish) => Promise<Placed> {
  const worker = new Worker(section.dataset.worker ?? "", { type: "module" });
  const placed = new Promise<Placed>((resolve) => {
    worker.addEventListener("message", (event: MessageEvent<Placed>) => {
      worker.terminate();
      resolve(event.data);
    });
  });
  return (wish) => {
    worker.postMessage(wish);
    return placed;
  };
}

async function draw(section: HTMLElement, place: HTMLElement, text: string): Promise<void> {
  const large = text.length > LAID_OUT_HERE_MAX;
  const find = large ? startWorker(section) : layOut;
  const step = large ? pause : (): void => {};
  await step();
  const sent = JSON.parse(text) as Sent;
  await step();
  const graph = new Graph(sent);
  await step();
  graph.complete();
  await step();
  // Before keys or pointer can change what there is to place.
  const { wish, boxes, lines } = graph.wish();
  const described = describe(boxes.filter(isDescribed).slice(0, CARDS_FIRST), sent.moment);
  const found = find(wish);
  await pause();
  const page = new GraphPage(section, place, graph);
  graph.take(await found, boxes, lines);
  await step();
  page.show();
  if (await described) page.refresh();
}

const section = document.querySelector<HTMLElement>("#graph");
const place = section?.querySelector<HTMLElement>("[data-canvas]");
const data = section?.querySelector("[data-graph]")?.textContent;
if (section && place && data) {
  void draw(section, place, data);
  askOnChange();
  slide();
  twin(section);
  closeMenus();
}
