// New events: how many came that concern this page, and a button that shows them. Nothing that one
// reads moves until the button is pressed.

interface Told {
  nodes: string[];
}

export function listen(): void {
  const place = document.querySelector<HTMLElement>("[data-news]");
  const live = document.body.dataset.live;
  if (!place || live === undefined || !("EventSource" in window)) return;
  const wanted = new Set(live.split(" ").filter(Boolean));
  let source: EventSource | null = null;
  let last = "";
  let count = 0;

  const show = (): void => {
    const text = `${count.toLocaleString("en")} new event${count === 1 ? "" : "s"} — show`;
    let button = place.querySelector("button");
    if (!button) {
      button = document.createElement("button");
      button.type = "button";
      button.addEventListener("click", () => window.location.reload());
      place.append(button);
    }
    button.textContent = text;
  };
  const take = (event: MessageEvent<string>): void => {
    last = event.lastEventId;
    const told = JSON.parse(event.data) as Told;
    if (wanted.size > 0 && !told.nodes.some((node) => concerns(wanted, node))) return;
    count += 1;
    show();
  };
  const open = (): void => {
    if (source) return;
    const since = last === "" ? "" : `?since=${Number(last) + 1}`;
    source = new EventSource(`/api/v2/events${since}`);
    for (const kind of ["event", "alias", "block"]) {
      source.addEventListener(kind, take as EventListener);
    }
  };
  const close = (): void => {
    source?.close();
    source = null;
  };
  // A page in the background lets go: browsers open six connections to a host, for all tabs.
  const follow = (): void => (document.hidden ? close() : open());
  document.addEventListener("visibilitychange", follow);
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", follow);
  follow();
}

function concerns(wanted: Set<string>, node: string): boolean {
  return wanted.has(node) || wanted.has(node.split("#", 1)[0] ?? node);
}
