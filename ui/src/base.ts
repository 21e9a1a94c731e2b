// What every page brings: colours, copying, the key to the search field, news, hints as one types.
// Without it each page works all the same.

import { hint, suggest } from "./shared/hints";
import { listen } from "./shared/news";

function toggleTheme(): void {
  const button = document.querySelector<HTMLButtonElement>("[data-theme-toggle]");
  if (!button) return;
  const root = document.documentElement;
  const preferred = window.matchMedia("(prefers-color-scheme: dark)");
  const dark = (): boolean =>
    root.dataset.theme ? root.dataset.theme === "dark" : preferred.matches;
  const show = (): void => {
    button.setAttribute("aria-pressed", String(dark()));
  };
  button.hidden = false;
  show();
  preferred.addEventListener("change", show);
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    // Read by the server, so that the next page comes in its colours at once.
    document.cookie = `lodeline_theme=${root.dataset.theme};path=/;max-age=31536000;samesite=strict`;
    show();
    window.dispatchEvent(new Event("lodeline:theme"));
  });
}

// Asked for on the document, so that what an island adds later copies, too.
function copyOnClick(): void {
  if (!navigator.clipboard) return;
  document.documentElement.classList.add("copies");
  for (const button of document.querySelectorAll<HTMLElement>(".copy")) button.hidden = false;
  document.addEventListener("click", (event) => {
    const button = (event.target as Element | null)?.closest<HTMLElement>(".copy");
    if (!button) return;
    void navigator.clipboard.writeText(button.dataset.copy ?? "").then(() => {
      button.classList.add("done");
      setTimeout(() => button.classList.remove("done"), 1200);
    });
  });
}

function focusSearch(): void {
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target as HTMLElement;
    if (target.closest("input, textarea, select, [contenteditable]")) return;
    const field = document.querySelector<HTMLInputElement>("#find");
    if (!field) return;
    event.preventDefault();
    field.focus();
    field.select();
  });
}

toggleTheme();
copyOnClick();
focusSearch();
for (const form of document.querySelectorAll<HTMLFormElement>("[data-find]")) hint(form);
for (const place of document.querySelectorAll<HTMLElement>("[data-suggests]")) suggest(place);
listen();
