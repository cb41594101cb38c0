// Offers a model server detected on this machine where a model is missing; it is used only after a click.

import { make } from "./view.js";
import { word } from "./words.js";

const SHOWN_AT_FIRST = 3;
const NAMES = { ollama: "Ollama", lmstudio: "LM Studio", vllm: "vLLM" };
// The reply sent when no model is configured names this command in every language; the button does the same.
const COMMAND = "portico models use";
const DECLINED = "portico.offers.declined";

export class Offers {
  // `mayUse`: owner and admins; policy decides on the click. `keepPlace` runs a change and keeps the scroll position.
  constructor({ node, mayUse, keepPlace }) {
    this._node = node;
    this._mayUse = mayUse;
    this._keepPlace = keepPlace;
    this._offers = [];
    this._all = false;
    this._place = "";
    this._message = null;
    // The person may have started a server and returned to the page.
    window.addEventListener("focus", () => this._place && this._message?.key !== "offer_taken" && this._load(this._place));
  }

  // Called often; requests the offers once for each place where a model is missing.
  consider(conversation, log) {
    if (!this._mayUse) return;
    const place = placeOf(conversation, log);
    if (place === this._place) return;
    this._place = place;
    this._message = null;
    this._offers = [];
    this.draw();
    if (place) this._load(place);
  }

  draw() {
    this._keepPlace(() => this._put());
  }

  _put() {
    const declined = localStorage.getItem(DECLINED) === namesOf(this._offers);
    this._node.hidden = !this._message && (!this._offers.length || declined);
    if (this._node.hidden) this._node.replaceChildren();
    else if (this._message) this._node.replaceChildren(make("p", {}, word(this._message.key, this._message.values)));
    else this._node.replaceChildren(make("p", {}, word("offer_found")), this._buttons());
  }

  _buttons() {
    const shown = this._all ? this._offers : this._offers.slice(0, SHOWN_AT_FIRST);
    const buttons = shown.map((offer) =>
      make("button", { type: "button", class: "take", onclick: () => this._use(offer) }, word("offer_use", wordsOf(offer))),
    );
    if (shown.length < this._offers.length) {
      buttons.push(make("button", { type: "button", class: "later", onclick: () => this._showAll() }, word("offer_more")));
    }
    const later = make("button", { type: "button", class: "later", onclick: () => this._decline() }, word("offer_later"));
    return make("div", { class: "offers" }, ...buttons, later);
  }

  async _load(place) {
    const response = await fetch("/v1/models/routes").catch(() => null);
    if (!response?.ok) return;
    const { routes, offers } = await response.json();
    if (place !== this._place) return;
    const available = routes.length ? [] : offers;
    if (!this._message && namesOf(available) === namesOf(this._offers)) return;
    this._message = null;
    this._offers = available;
    this.draw();
  }

  async _use(offer) {
    for (const button of this._node.querySelectorAll("button")) button.disabled = true;
    const body = JSON.stringify({ name: offer.name });
    const headers = { "content-type": "application/json" };
    const response = await fetch("/v1/models/use", { method: "POST", headers, body }).catch(() => null);
    const problem = response?.ok ? null : await response?.json().catch(() => null);
    if (response?.ok) this._message = { key: "offer_taken", values: wordsOf(offer) };
    else if (response?.status === 404) this._message = { key: "offer_gone", values: wordsOf(offer) };
    else this._message = { key: "offer_failed", values: { why: problem?.title ?? word("lost") } };
    this.draw();
  }

  _showAll() {
    this._all = true;
    this.draw();
    this._node.querySelectorAll(".take")[SHOWN_AT_FIRST]?.focus();
  }

  _decline() {
    localStorage.setItem(DECLINED, namesOf(this._offers));
    this.draw();
  }
}

const namesOf = (offers) => offers.map((offer) => offer.name).join("\n");
const wordsOf = ({ model, server }) => ({ model, server: NAMES[server] ?? server });

// Where a model is missing: in an empty conversation, and after a reply saying that no model is configured.
function placeOf(conversation, log) {
  if (log.empty) return `${conversation} first`;
  const line = log.lastReply;
  const text = (line?.parts ?? []).map((part) => part.text ?? "").join("") || line?.text || "";
  return text.includes(COMMAND) ? `${conversation} ${line.seq ?? line.at}` : "";
}
