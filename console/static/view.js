// Lines of the conversation as DOM nodes; no network access.

import { icon } from "./icons.js";
import { renderMarkdown } from "./markdown.js";
import { clock, day, word } from "./words.js";

// The edge serves other media types as downloads.
const SHOWN = new Set(["image/png", "image/jpeg"]);

export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child != null && child !== ""));
  return node;
}

export function dayLine(at) {
  return make("div", { class: "day", role: "separator" }, make("span", {}, day(at)));
}

// A person's message and its delivery state (`mark`). `actions` has retry(id), discard(id).
export function userLine(line, { mark, actions }) {
  const files = (line.attachments ?? []).map((file) => fileChip(file.name || file.media_type));
  const bubble = make(
    "div",
    { class: "bubble", title: clock(line.at) },
    make("span", { class: "unseen" }, `${word("you")}: `),
    make("div", { class: "said" }, line.text),
    files.length ? make("div", { class: "chips" }, ...files) : "",
  );
  return make("article", { class: `line user ${mark}`, "data-id": line.id }, bubble, userMeta(line, mark, actions));
}

function userMeta(line, mark, actions) {
  if (mark === "sending" || mark === "kept") return make("p", { class: "meta" }, word(mark));
  if (mark !== "failed") return "";
  return make(
    "p",
    { class: "meta" },
    make("span", { class: "cause" }, `${word("not_sent")}: ${line.failed} `),
    make("button", { type: "button", class: "text", onclick: () => actions.retry(line.id) }, word("again")),
    make("button", { type: "button", class: "text", onclick: () => actions.discard(line.id) }, word("discard")),
  );
}

// A delivered reply. `choose(value)` is called when a choice is clicked.
export function replyLine(line, { historyUrl, choose }) {
  const bubble = make("div", { class: "bubble" }, make("span", { class: "unseen" }, "Portico: "));
  const parts = line.parts?.length ? line.parts : [{ type: "text", text: line.text ?? "" }];
  for (const part of parts) bubble.append(...partNodes(part, choose));
  addCopyButtons(bubble);
  const meta = make("p", { class: "meta" }, make("time", {}, clock(line.at)));
  if (historyUrl) meta.append(historyLink(historyUrl));
  return make("article", { class: "line reply", "data-turn": line.turn, "data-seq": String(line.seq ?? 0) }, bubble, meta);
}

function historyLink(url) {
  const attributes = { href: url, target: "_blank", rel: "noopener", title: word("history_label"), class: "history" };
  return make("a", attributes, icon("history"), word("history"));
}

function partNodes(part, choose) {
  if (part.type === "choices") return [markdown(part.text), choices(part.choices, choose)];
  if (part.type === "card") return [card(part)];
  if (part.url && SHOWN.has(part.media_type)) return [picture(part)];
  if (part.type === "file" || part.type === "image") return [part.url ? fileLink(part) : fileChip(part.name || part.media_type)];
  return [markdown(part.text ?? "")];
}

function markdown(text) {
  return make("div", { class: "markdown" }, renderMarkdown(text));
}

function choices(options, choose) {
  const buttons = options.map(({ label, value }) =>
    make("button", { type: "button", class: "choice", onclick: () => choose(value) }, label),
  );
  return make("div", { class: "choices", role: "group" }, ...buttons);
}

function card(part) {
  const title = part.url ? `[${part.title.replace(/[[\]\\]/g, "\\$&")}](${part.url})` : "";
  const head = title ? renderMarkdown(title) : make("p", {}, part.title);
  return make("div", { class: "card" }, make("div", { class: "card-title" }, head), markdown(part.text ?? ""));
}

function fileChip(name) {
  return make("span", { class: "chip" }, icon("file"), make("span", {}, name));
}

// Only paths of this edge: the URL comes from a reply's part, and no other host may be linked.
function ownUrl(url) {
  return url.startsWith("/v1/") ? url : "#";
}

function fileLink(part) {
  const attributes = { class: "chip", href: ownUrl(part.url), download: part.name || true };
  return make("a", attributes, icon("file"), make("span", {}, part.name || part.media_type));
}

function picture(part) {
  const image = make("img", { src: ownUrl(part.url), alt: part.name || word("picture"), loading: "lazy" });
  return make("a", { class: "picture", href: ownUrl(part.url), target: "_blank", rel: "noopener" }, image);
}

// A tool's progress; `show(frame)` replaces it. A fraction of null shows an indeterminate bar.
export function progressLine() {
  const text = make("span", { class: "doing" });
  const bar = make("progress", { max: "1", "aria-label": word("progress") });
  const node = make("article", { class: "line reply draft working", role: "status" }, make("div", { class: "bubble" }, text, bar));
  node.show = ({ tool, text: step, fraction }) => {
    text.textContent = [tool, step || word("progress")].filter(Boolean).join(": ");
    if (typeof fraction === "number") bar.value = fraction;
    else bar.removeAttribute("value");
  };
  return node;
}

// A reply that is being written; `show(text)` replaces its text.
export function draftLine(turn) {
  const text = make("div", { class: "markdown" });
  const dots = make("span", { class: "dots", role: "img", "aria-label": word("thinking") }, ...[0, 1, 2].map(() => make("i")));
  const bubble = make("div", { class: "bubble", "aria-live": "off" }, dots, text);
  const node = make("article", { class: "line reply draft", "data-turn": turn }, bubble);
  node.show = (written) => {
    dots.hidden = written !== "";
    text.replaceChildren(renderMarkdown(written));
  };
  return node;
}

function addCopyButtons(root) {
  for (const pre of root.querySelectorAll("pre")) {
    const button = make("button", { type: "button", class: "copy", "aria-label": word("copy"), title: word("copy") }, icon("copy"));
    button.addEventListener("click", () => copy(pre.textContent, button));
    const frame = make("div", { class: "code" });
    pre.replaceWith(frame);
    const name = pre.firstChild?.dataset?.language ?? "";
    frame.append(make("div", { class: "code-head" }, make("span", {}, name), button), pre);
  }
}

async function copy(text, button) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
  } else {
    // navigator.clipboard is only available over TLS or on localhost.
    const area = make("textarea", { class: "unseen" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.replaceChildren(icon("check"));
  button.setAttribute("aria-label", word("copied"));
  setTimeout(() => {
    button.replaceChildren(icon("copy"));
    button.setAttribute("aria-label", word("copy"));
  }, 1600);
}
