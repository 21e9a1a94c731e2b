// The worker that lays graphs out, so that the page stays at hand meanwhile.

import { layOut, type Wish } from "./graph/layered";

self.addEventListener("message", (event: MessageEvent<Wish>) => {
  const placed = layOut(event.data);
  const buffers = [placed.x, placed.y, placed.layer, placed.bendStart, placed.bends];
  (self as unknown as { postMessage(message: unknown, transfer: Transferable[]): void }).postMessage(
    placed,
    buffers.map((one) => one.buffer as ArrayBuffer),
  );
});
