// A layered layout around one node: what is upstream lies left of it, what is downstream right.
//
// 1. Cycles are cut: a depth-first walk turns the edges round that lead back.
// 2. Layers by the longest path to the focus, or from it, so that every edge leads right.
// 3. Edges across several layers get a bend in each, so that they pass between the nodes.
// 4. Order within layers by the mean of the neighbours' places (Sugiyama's barycentre), in sweeps.
// 5. Heights by least squares: as near to the neighbours as order and sizes allow.
//
// Numbers and typed arrays only: it runs in a worker, and 5,000 nodes take some tens of
// milliseconds.

export interface Wish {
  count: number;
  root: number;
  sources: Int32Array;
  targets: Int32Array;
  heights: Float32Array;
  width: number;
  gapX: number;
  gapY: number;
}

export interface Placed {
  x: Float32Array; // left
  y: Float32Array; // middle
  layer: Int32Array;
  bendStart: Int32Array; // per edge, where its bends begin in `bends`
  bends: Float32Array; // x, y
}

// Past this many bends edges are drawn straight: they would cover the picture in any case.
const BENDS_MAX = 30_000;
const SWEEPS = 6;
const BEND_HEIGHT = 10;

interface Neighbours {
  start: Int32Array;
  other: Int32Array;
}

function neighbours(count: number, from: Int32Array, to: Int32Array): Neighbours {
  const start = new Int32Array(count + 1);
  for (let i = 0; i < from.length; i++) start[from[i]! + 1]!++;
  for (let i = 0; i < count; i++) start[i + 1]! += start[i]!;
  const at = start.slice(0, count);
  const other = new Int32Array(from.length);
  for (let i = 0; i < from.length; i++) other[at[from[i]!]!++] = to[i]!;
  return { start, other };
}

// 1.
function cutCycles(wish: Wish): { from: Int32Array; to: Int32Array } {
  const { count, sources, targets } = wish;
  const start = new Int32Array(count + 1);
  for (const one of sources) start[one + 1]!++;
  for (let i = 0; i < count; i++) start[i + 1]! += start[i]!;
  const at = start.slice(0, count);
  const edges = new Int32Array(sources.length);
  for (let i = 0; i < sources.length; i++) edges[at[sources[i]!]!++] = i;

  const state = new Uint8Array(count); // 0 unseen, 1 on the way, 2 done
  const next = start.slice(0, count);
  const turned = new Uint8Array(sources.length);
  const indegree = new Int32Array(count);
  for (const one of targets) indegree[one]!++;
  const begin: number[] = [];
  for (let i = 0; i < count; i++) if (indegree[i] === 0) begin.push(i);
  for (let i = 0; i < count; i++) begin.push(i);
  const stack: number[] = [];
  for (const first of begin) {
    if (state[first] !== 0) continue;
    stack.push(first);
    state[first] = 1;
    while (stack.length > 0) {
      const node = stack[stack.length - 1]!;
      if (next[node]! === start[node + 1]!) {
        state[node] = 2;
        stack.pop();
        continue;
      }
      const edge = edges[next[node]!++]!;
      const target = targets[edge]!;
      if (state[target] === 1) turned[edge] = 1;
      else if (state[target] === 0) {
        state[target] = 1;
        stack.push(target);
      }
    }
  }
  const from = new Int32Array(sources.length);
  const to = new Int32Array(sources.length);
  for (let i = 0; i < sources.length; i++) {
    from[i] = turned[i] ? targets[i]! : sources[i]!;
    to[i] = turned[i] ? sources[i]! : targets[i]!;
  }
  return { from, to };
}

// 2.
function findLayers(wish: Wish, from: Int32Array, to: Int32Array): Int32Array {
  const { count, root } = wish;
  const below = neighbours(count, from, to);
  const above = neighbours(count, to, from);
  const order = new Int32Array(count);
  const waiting = new Int32Array(count);
  for (let i = 0; i < from.length; i++) if (from[i] !== to[i]) waiting[to[i]!]!++;
  let head = 0;
  let tail = 0;
  for (let i = 0; i < count; i++) if (waiting[i] === 0) order[tail++] = i;
  while (head < tail) {
    const node = order[head++]!;
    for (let i = below.start[node]!; i < below.start[node + 1]!; i++) {
      const other = below.other[i]!;
      if (other !== node && --waiting[other]! === 0) order[tail++] = other;
    }
  }
  const up = new Int32Array(count).fill(-1);
  const down = new Int32Array(count).fill(-1);
  up[root] = down[root] = 0;
  for (let at = tail - 1; at >= 0; at--) {
    const node = order[at]!;
    for (let i = below.start[node]!; i < below.start[node + 1]!; i++) {
      const other = below.other[i]!;
      if (up[other]! >= 0 && other !== node) up[node] = Math.max(up[node]!, up[other]! + 1);
    }
  }
  for (let at = 0; at < tail; at++) {
    const node = order[at]!;
    for (let i = above.start[node]!; i < above.start[node + 1]!; i++) {
      const other = above.other[i]!;
      if (down[other]! >= 0 && other !== node) down[node] = Math.max(down[node]!, down[other]! + 1);
    }
  }
  const layer = new Int32Array(count);
  const placed = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    if (up[i]! < 0 && down[i]! < 0) continue;
    layer[i] = down[i]! > 0 ? down[i]! : -up[i]!;
    placed[i] = 1;
  }
  // What is neither above nor below, which turned edges can leave: beside its neighbours.
  for (let at = 0; at < tail; at++) {
    const node = order[at]!;
    if (placed[node]) continue;
    let found = Number.NEGATIVE_INFINITY;
    for (let i = above.start[node]!; i < above.start[node + 1]!; i++) {
      const other = above.other[i]!;
      if (placed[other] && other !== node) found = Math.max(found, layer[other]! + 1);
    }
    if (found > Number.NEGATIVE_INFINITY) {
      layer[node] = found;
      placed[node] = 1;
    }
  }
  for (let at = tail - 1; at >= 0; at--) {
    const node = order[at]!;
    if (placed[node]) continue;
    let found = Number.POSITIVE_INFINITY;
    for (let i = below.start[node]!; i < below.start[node + 1]!; i++) {
      const other = below.other[i]!;
      if (placed[other] && other !== node) found = Math.min(found, layer[other]! - 1);
    }
    layer[node] = found < Number.POSITIVE_INFINITY ? found : -1;
    placed[node] = 1;
  }
  return layer;
}

interface Proper {
  count: number; // nodes, then bends
  layer: Int32Array;
  height: Float32Array;
  from: Int32Array; // edges between neighbouring layers, left to right
  to: Int32Array;
  bendStart: Int32Array;
}

// 3.
function addBends(wish: Wish, from: Int32Array, to: Int32Array, layer: Int32Array): Proper {
  let bends = 0;
  for (let i = 0; i < from.length; i++) {
    bends += Math.max(0, layer[to[i]!]! - layer[from[i]!]! - 1);
  }
  const bent = bends <= BENDS_MAX;
  const count = wish.count + (bent ? bends : 0);
  const layers = new Int32Array(count);
  layers.set(layer);
  const height = new Float32Array(count).fill(BEND_HEIGHT);
  height.set(wish.heights);
  const bendStart = new Int32Array(from.length + 1);
  const left: number[] = [];
  const right: number[] = [];
  let next = wish.count;
  for (let i = 0; i < from.length; i++) {
    bendStart[i] = next - wish.count;
    const first = layer[from[i]!]!;
    const last = layer[to[i]!]!;
    if (last - first < 1) continue;
    if (last - first > 1 && !bent) continue;
    let at = from[i]!;
    for (let between = first + 1; between < last; between++) {
      layers[next] = between;
      left.push(at);
      right.push(next);
      at = next++;
    }
    left.push(at);
    right.push(to[i]!);
  }
  bendStart[from.length] = next - wish.count;
  const edges = { from: Int32Array.from(left), to: Int32Array.from(right) };
  return { count, layer: layers, height, ...edges, bendStart };
}

// 4.
function orderLayers(proper: Proper, root: number): { lists: Int32Array[]; first: number } {
  const { count, layer } = proper;
  let first = 0;
  let last = 0;
  for (let i = 0; i < count; i++) {
    first = Math.min(first, layer[i]!);
    last = Math.max(last, layer[i]!);
  }
  const lefts = neighbours(count, proper.to, proper.from);
  const rights = neighbours(count, proper.from, proper.to);
  const lists: number[][] = Array.from({ length: last - first + 1 }, () => []);
  const seen = new Uint8Array(count);
  const visit = (begin: number): void => {
    if (seen[begin]) return;
    seen[begin] = 1;
    const waiting = [begin];
    for (let head = 0; head < waiting.length; head++) {
      const node = waiting[head]!;
      lists[layer[node]! - first]!.push(node);
      for (const side of [lefts, rights]) {
        for (let i = side.start[node]!; i < side.start[node + 1]!; i++) {
          const other = side.other[i]!;
          if (!seen[other]) {
            seen[other] = 1;
            waiting.push(other);
          }
        }
      }
    }
  };
  visit(root);
  for (let i = 0; i < count; i++) visit(i);

  const place = new Float64Array(count);
  const number = (list: number[]): void => {
    for (let i = 0; i < list.length; i++) place[list[i]!] = i - list.length / 2;
  };
  lists.forEach(number);
  const wanted = new Float64Array(count);
  const sort = (list: number[], side: Neighbours): void => {
    for (const node of list) {
      const begin = side.start[node]!;
      const end = side.start[node + 1]!;
      let sum = 0;
      for (let i = begin; i < end; i++) sum += place[side.other[i]!]!;
      wanted[node] = end > begin ? sum / (end - begin) : place[node]!;
    }
    list.sort((a, b) => wanted[a]! - wanted[b]! || place[a]! - place[b]!);
    number(list);
  };
  const middle = -first;
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    for (let at = middle + 1; at < lists.length; at++) sort(lists[at]!, lefts);
    for (let at = middle - 1; at >= 0; at--) sort(lists[at]!, rights);
    if (sweep === SWEEPS - 1) break;
    for (let at = lists.length - 2; at > middle; at--) sort(lists[at]!, rights);
    for (let at = 1; at < middle; at++) sort(lists[at]!, lefts);
  }
  return { lists: lists.map((one) => Int32Array.from(one)), first };
}

// 5.
function settle(
  list: Int32Array,
  side: Neighbours,
  y: Float32Array,
  height: Float32Array,
  gap: number,
): void {
  const length = list.length;
  const offset = new Float64Array(length);
  const value = new Float64Array(length);
  const weight = new Float64Array(length);
  const size = new Int32Array(length);
  let blocks = 0;
  for (let i = 0; i < length; i++) {
    const node = list[i]!;
    if (i > 0) {
      const before = list[i - 1]!;
      offset[i] = offset[i - 1]! + (height[before]! + height[node]!) / 2 + gap;
    }
    const begin = side.start[node]!;
    const end = side.start[node + 1]!;
    let wish = y[node]!;
    if (end > begin) {
      wish = 0;
      for (let at = begin; at < end; at++) wish += y[side.other[at]!]!;
      wish /= end - begin;
    }
    // Pool adjacent violators: who would overlap share one shift.
    let mean = wish - offset[i]!;
    let heavy = 1;
    let many = 1;
    while (blocks > 0 && value[blocks - 1]! > mean) {
      blocks--;
      mean = (mean * heavy + value[blocks]! * weight[blocks]!) / (heavy + weight[blocks]!);
      heavy += weight[blocks]!;
      many += size[blocks]!;
    }
    value[blocks] = mean;
    weight[blocks] = heavy;
    size[blocks++] = many;
  }
  for (let block = 0, i = 0; block < blocks; block++) {
    for (let many = size[block]!; many > 0; many--, i++) {
      y[list[i]!] = value[block]! + offset[i]!;
    }
  }
}

export function layOut(wish: Wish): Placed {
  const { from, to } = cutCycles(wish);
  const layer = findLayers(wish, from, to);
  const proper = addBends(wish, from, to, layer);
  const { lists, first } = orderLayers(proper, wish.root);
  const y = new Float32Array(proper.count);
  const lefts = neighbours(proper.count, proper.to, proper.from);
  const rights = neighbours(proper.count, proper.from, proper.to);
  const middle = -first;
  const nobody: Neighbours = { start: new Int32Array(proper.count + 1), other: new Int32Array(0) };
  const each = (at: number, side: Neighbours): void =>
    settle(lists[at]!, side, y, proper.height, wish.gapY);
  each(middle, nobody);
  for (let pass = 0; pass < 2; pass++) {
    for (let at = middle + 1; at < lists.length; at++) each(at, lefts);
    for (let at = middle - 1; at >= 0; at--) each(at, rights);
    if (pass === 1) break;
    for (let at = lists.length - 2; at > middle; at--) each(at, rights);
    for (let at = 1; at < middle; at++) each(at, lefts);
  }
  const shift = y[wish.root]!;
  for (let i = 0; i < proper.count; i++) y[i]! -= shift;
  const step = wish.width + wish.gapX;
  const x = new Float32Array(wish.count);
  for (let i = 0; i < wish.count; i++) x[i] = layer[i]! * step;
  const bends = new Float32Array(2 * (proper.count - wish.count));
  for (let i = wish.count; i < proper.count; i++) {
    bends[2 * (i - wish.count)] = proper.layer[i]! * step;
    bends[2 * (i - wish.count) + 1] = y[i]!;
  }
  return { x, y: y.slice(0, wish.count), layer, bendStart: proper.bendStart, bends };
}
