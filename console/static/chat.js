// The chat page: connects log, connection and composer.

import { Composer } from "./composer.js";
import { Connection, Outbox, newId } from "./connection.js";
import { Drawer } from "./drawer.js";
import { putIcon, putIcons } from "./icons.js";
import { Log } from "./log.js";
import { Offers } from "./offers.js";
import { make } from "./view.js";
import { chooseLanguage, language, locale, putWords, word } from "./words.js";

const PAGE_SIZE = 50;
const QUIET_MS = 1500;
const THEMES = ["system", "light", "dark"];
const MAIN = "main";
const $ = (id) => document.getElementById(id);

async function fetchJson(path, options) {
  const response = await fetch(path, { headers: { accept: "application/json" }, ...options });
  if (response.status === 401) location.reload();
  if (!response.ok) throw new Error(String(response.status));
  return response.status === 204 ? null : response.json();
}

class Chat {
  constructor(me) {
    this._me = me;
    this._mayReadHistory = me.role === "owner" || me.role === "admin";
    this._drawer = new Drawer({ open: (name) => this.enter(name) });
    const keepPlace = (change) => this._log.keepingEnd(change);
    this._offers = new Offers({ node: $("offer"), mayUse: me.role === "owner" || me.role === "admin", keepPlace });
    this._composer = new Composer({ send: (text, files) => this.send(text, files), stop: () => this._connection.stop() });
    $("earlier").onclick = () => this._showEarlier();
    $("bottom").onclick = () => this._log.toEnd(true);
    $("new").onclick = () => this.enter(`c-${newId().slice(0, 13)}`);
    $("scroll").addEventListener("scroll", () => this._showBottomButton(), { passive: true });
    window.addEventListener("hashchange", () => this.enter(nameInAddress()));
    window.addEventListener("storage", () => this._refresh());
    setInterval(() => this._refresh(), 2000);
  }

  async enter(name) {
    if (name === this._name) return;
    this._name = name;
    location.hash = name === MAIN ? "" : name;
    this._connection?.close();
    this._outbox = new Outbox(`${this._me.person}.${name}`);
    this._waiting = new Set();
    const actions = {
      retry: (id) => this._connection.retry(id),
      discard: (id) => (this._outbox.drop(id), this._refresh()),
      choose: (value) => this.send(value, []),
    };
    $("log").replaceChildren();
    this._log = new Log({ node: $("log"), scroll: $("scroll"), outbox: this._outbox, actions });
    this._log.draw();
    this._drawer.mark(name);
    this._composer.enter(`${this._me.person}.${name}`);
    await this._load(name);
    if (name === this._name) this._connect(name);
  }

  send(text, attachments) {
    this._connection.send({ id: newId(), text, at: Date.now() / 1000, locale: locale(), attachments });
    this._refresh();
    this._log.toEnd(true);
  }

  refreshWords() {
    putWords(document);
    putTheme();
    this._drawer.load();
    this._suggest();
    this._log.redraw();
    this._offers.draw();
    this._showTitle();
  }

  _connect(name) {
    const isCurrent = () => name === this._name;
    const handlers = {
      frame: (frame) => isCurrent() && this._onFrame(frame),
      state: (state) => isCurrent() && this._showState(state),
      changed: () => isCurrent() && this._refresh(),
    };
    this._connection = new Connection({ conversation: name, outbox: this._outbox, after: this._log.lastSeq, handlers });
    this._refresh();
  }

  async _load(name, before) {
    const query = new URLSearchParams({ limit: PAGE_SIZE, ...(before ? { before } : {}) });
    try {
      const lines = await fetchJson(`/v1/conversations/${encodeURIComponent(name)}/messages?${query}`);
      if (name !== this._name) return;
      this._log.remember(lines);
      $("earlier").hidden = lines.length < PAGE_SIZE;
      if (!before) this._log.toEnd();
    } catch {
      if (name === this._name) this._showState("history_failed");
    }
    this._refresh();
  }

  async _showEarlier() {
    const height = $("scroll").scrollHeight;
    await this._load(this._name, this._log.firstAt);
    $("scroll").scrollTop += $("scroll").scrollHeight - height;
  }

  _onFrame(frame) {
    if (frame.type === "hello") this._log.historyUrl = this._mayReadHistory ? frame.history_url : "";
    if (frame.type === "ack") this._log.acked(frame.turn);
    if (frame.type === "delta") this._log.delta(frame);
    if (frame.type === "progress") this._log.progress(frame);
    if (frame.type === "status" && frame.state === "waiting") this._waiting.add(frame.turn);
    if (frame.type === "reply") this._onReply(frame);
    this._refresh();
  }

  _onReply(frame) {
    const known = this._log.knows(frame.turn);
    this._waiting.delete(frame.turn);
    if (!known && this._composer.takeStop()) this._log.stopped();
    this._log.reply(frame);
    this._drawer.loadSoon();
    // Sent from another window or by a program: the message that this answers is not loaded yet.
    if (!known) this._load(this._name);
  }

  _refresh() {
    if (!this._log) return;
    this._log.draw();
    const running = this._log.running;
    this._composer.running = running.length > 0;
    $("welcome").hidden = !this._log.empty;
    this._offers.consider(this._name, this._log);
    $("waiting").hidden = !running.some((turn) => this._waiting.has(turn));
    $("waiting").textContent = word("waiting");
    this._showTitle();
    this._showBottomButton();
  }

  _showTitle() {
    $("title").textContent = this._drawer.titleOf(this._name);
  }

  // A connection lost for less than QUIET_MS is not shown.
  _showState(state) {
    clearTimeout(this._stateTimer);
    const show = () => {
      $("state").dataset.state = state;
      $("state").textContent = state === "open" ? "" : word(state === "lost" && !navigator.onLine ? "offline" : state);
    };
    if (state === "open" || state === "signed_out") show();
    else this._stateTimer = setTimeout(show, $("state").textContent ? 0 : QUIET_MS);
    if (state === "signed_out") location.reload();
  }

  _showBottomButton() {
    $("bottom").hidden = this._log.nearEnd();
  }

  _suggest() {
    const buttons = word("suggestions").map((text) =>
      make("button", { type: "button", onclick: () => this.send(text, []) }, text),
    );
    $("suggestions").replaceChildren(...buttons);
  }
}

function nameInAddress() {
  const name = decodeURIComponent(location.hash.slice(1));
  return /^[A-Za-z0-9_-]{1,64}$/.test(name) ? name : MAIN;
}

function theme() {
  return document.documentElement.dataset.theme ?? "system";
}

function putTheme() {
  $("theme").querySelector("span").textContent = word(`theme_${theme()}`);
  putIcon($("theme"), `theme_${theme()}`);
}

function nextTheme() {
  const next = THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length];
  if (next === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  localStorage.setItem("portico.theme", next);
  putTheme();
}

async function signOut() {
  for (const key of Object.keys(localStorage)) if (/^portico\.(outbox|draft|offers)\./.test(key)) localStorage.removeItem(key);
  await fetch("/v1/logout", { method: "POST" });
  location.reload();
}

putIcons(document);
putWords(document);
const chat = new Chat(await fetchJson("/v1/me"));
$("theme").onclick = nextTheme;
$("language").onclick = () => {
  chooseLanguage(language() === "zh" ? "en" : "zh");
  chat.refreshWords();
};
$("sign-out").onclick = signOut;
await chat.enter(nameInAddress());
chat.refreshWords();
document.documentElement.dataset.ready = "yes";
