// The worker that lays graphs out, so that the page stays at hand meanwhile. It gets what the page
// got, as text, and finds by itself what is to be laid out: the page builds the same beside it.

import { layOut } from "./graph/layered";
import { Graph, type Sent } from "./graph/model";

self.addEventListener("message", (event: MessageEvent<string>) => {
  const placed = layOut(new Graph(JSON.parse(event.data) as Sent).wish().wish);
  const buffers = [placed.x, placed.y, placed.layer, placed.bendStart, placed.bends];
  (self as unknown as { postMessage(message: unknown, transfer: Transferable[]): void }).postMessage(
    placed,
    buffers.map((one) => one.buffer as ArrayBuffer),
  );
});
