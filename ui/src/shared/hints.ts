// Search as you type: the first hits under the field, chosen with the arrow keys. In the search field
// a choice opens the node; in a field for an identifier it fills that in. Without it the form asks
// the server, which shows all of them.

import { nodeUrl, shortName, kindWord } from "./nodes";

interface Hit {
  id: string;
  kind: string;
  namespace: string | null;
}

const PAUSE_MS = 90;
const HITS_MAX = 8;

export function hint(form: HTMLFormElement): void {
  const field = form.querySelector<HTMLInputElement>("input[name=q]");
  if (field) combobox(field, form, "hints", (id, lineage) => window.location.assign(nodeUrl(id, lineage ? "lineage" : "node")));
}

export function suggest(place: HTMLElement): void {
  const field = place.querySelector<HTMLInputElement>("input");
  if (!field) return;
  combobox(field, place, `${field.id}-hints`, (id) => {
    field.value = id;
  });
}

function combobox(
  field: HTMLInputElement,
  place: HTMLElement,
  name: string,
  take: (id: string, lineage: boolean) => void,
): void {
  const list = document.createElement("ul");
  list.className = "hints";
  list.id = name;
  list.hidden = true;
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Found");
  place.append(list);
  field.setAttribute("role", "combobox");
  field.setAttribute("aria-autocomplete", "list");
  field.setAttribute("aria-controls", list.id);
  field.setAttribute("aria-expanded", "false");

  let hits: Hit[] = [];
  let chosen = -1;
  let timer = 0;
  let asking: AbortController | null = null;
  // The words that the list answers. Keys that are pressed before it answers those in the field are
  // held until it does: who types and goes on at once means what was typed.
  let answered = "";
  let held: Array<() => void> = [];

  const choose = (index: number): void => {
    chosen = index;
    list.querySelectorAll<HTMLElement>("[role=option]").forEach((option, at) => {
      option.setAttribute("aria-selected", String(at === index));
      if (at === index) option.scrollIntoView({ block: "nearest" });
    });
    if (index < 0) field.removeAttribute("aria-activedescendant");
    else field.setAttribute("aria-activedescendant", `${name}-${index}`);
  };
  const close = (): void => {
    list.hidden = true;
    field.setAttribute("aria-expanded", "false");
    choose(-1);
  };
  const show = (words: string, found: Hit[]): void => {
    hits = found;
    answered = words;
    list.replaceChildren(...found.map((hit, at) => option(hit, at, name)));
    list.hidden = found.length === 0;
    field.setAttribute("aria-expanded", String(found.length > 0));
    choose(-1);
    const keys = held;
    held = [];
    for (const key of keys) key();
  };
  const isBehind = (): boolean => field.value.trim() !== "" && field.value.trim() !== answered;
  const move = (step: number): void => {
    choose(((chosen + 1 + step + hits.length + 1) % (hits.length + 1)) - 1);
  };
  const choice = (at: number, lineage = false): void => {
    const hit = hits[at];
    if (!hit) return;
    clearTimeout(timer);
    asking?.abort();
    close();
    take(hit.id, lineage);
  };
  const ask = async (): Promise<void> => {
    asking?.abort();
    const words = field.value.trim();
    if (words === "") {
      held = [];
      answered = "";
      return close();
    }
    asking = new AbortController();
    try {
      const asked = `/api/v2/search?limit=${HITS_MAX}&q=${encodeURIComponent(words)}`;
      const answer = await fetch(asked, { signal: asking.signal });
      if (!answer.ok) {
        held = [];
        return close();
      }
      const found = (await answer.json()) as { results: Hit[] };
      // What is whole needs no help, and a list would lie over the button below.
      const whole = found.results.some(({ id }) => id === words);
      if (document.activeElement === field) show(words, whole ? [] : found.results);
    } catch {
      // Asked again at the next letter; the form works in any case.
    }
  };
  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = window.setTimeout(() => void ask(), PAUSE_MS);
  });
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !list.hidden) {
      event.preventDefault();
      held = [];
      close();
    } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && (!list.hidden || isBehind())) {
      event.preventDefault();
      const step = event.key === "ArrowDown" ? 1 : -1;
      if (isBehind()) held.push(() => move(step));
      else move(step);
    } else if (event.key === "Enter" && held.length > 0) {
      event.preventDefault();
      const lineage = event.shiftKey;
      held.push(() => choice(chosen, lineage));
    } else if (event.key === "Enter" && chosen >= 0) {
      event.preventDefault();
      choice(chosen, event.shiftKey);
    }
  });
  field.addEventListener("blur", () => setTimeout(close, 150));
  list.addEventListener("mousedown", (event) => {
    const item = (event.target as Element).closest<HTMLElement>("[role=option]");
    if (!item) return;
    event.preventDefault();
    choice(Number(item.dataset.at));
  });
}

function option(hit: Hit, at: number, list: string): HTMLElement {
  const item = document.createElement("li");
  item.id = `${list}-${at}`;
  item.dataset.at = String(at);
  item.setAttribute("role", "option");
  item.setAttribute("aria-selected", "false");
  const shape = document.createElement("span");
  shape.className = `shape k-${hit.kind}`;
  const name = document.createElement("bdi");
  name.textContent = shortName(hit.id);
  const where = document.createElement("span");
  where.className = "where";
  where.textContent = `${kindWord(hit.kind)}${hit.namespace ? ` in ${hit.namespace}` : ""}`;
  item.append(shape, name, where);
  return item;
}
