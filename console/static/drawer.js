// The list of conversations: a sidebar, or a drawer on a phone.

import { make } from "./view.js";
import { day, word } from "./words.js";

const SOON_MS = 800;
const MAIN = "main";
const $ = (id) => document.getElementById(id);

export class Drawer {
  constructor({ open }) {
    this._open = open;
    this._conversations = [];
    this._current = MAIN;
    $("drawer-open").onclick = () => this.show(true);
    $("drawer-close").onclick = () => this.show(false);
    $("veil").onclick = () => this.show(false);
    $("new").addEventListener("click", () => this.show(false));
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.show(false));
    this.show(false);
  }

  show(open) {
    const wasOpen = document.body.dataset.drawer === "open";
    document.body.dataset.drawer = open ? "open" : "closed";
    $("drawer-open").setAttribute("aria-expanded", String(open));
    if (open) $("drawer-close").focus();
    else if (wasOpen) $("drawer-open").focus();
  }

  mark(name) {
    this._current = name;
    this._draw();
  }

  titleOf(name) {
    const title = this._conversations.find((conversation) => conversation.name === name)?.title;
    return title || word(name === MAIN ? "main" : "unnamed");
  }

  loadSoon() {
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this.load(), SOON_MS);
  }

  async load() {
    const response = await fetch("/v1/conversations").catch(() => null);
    if (!response?.ok) return;
    this._conversations = await response.json();
    this._draw();
  }

  _draw() {
    const names = this._conversations.map((conversation) => conversation.name);
    const missing = names.includes(this._current) ? [] : [{ name: this._current }];
    const shown = [...missing, ...this._conversations];
    $("conversations").replaceChildren(...shown.map((conversation) => this._item(conversation)));
  }

  _item({ name, last_at }) {
    const current = name === this._current ? "page" : false;
    const go = () => {
      this.show(false);
      this._open(name);
    };
    const button = make(
      "button",
      { type: "button", "aria-current": current, onclick: go },
      make("span", { class: "title" }, this.titleOf(name)),
      last_at ? make("span", { class: "when" }, day(last_at)) : "",
    );
    return make("li", {}, button);
  }
}
