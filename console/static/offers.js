// A model server that was found on this machine: offered where a model is missed, used by one click, never before.

import { make } from "./view.js";
import { word } from "./words.js";

const SHOWN_AT_FIRST = 3;
const NAMES = { ollama: "Ollama", lmstudio: "LM Studio", vllm: "vLLM" };
// The reply without a model names this command in every language; the button is the same thing.
const COMMAND = "portico models use";
const DECLINED = "portico.offers.declined";

export class Offers {
  // `mayUse`: owner and admins; policy decides when the button is pressed. `around` keeps the place of the reader.
  constructor({ node, mayUse, around }) {
    this._node = node;
    this._mayUse = mayUse;
    this._around = around;
    this._found = [];
    this._all = false;
    this._place = "";
    this._said = null;
    // A person who has just started a server comes back to the page.
    window.addEventListener("focus", () => this._place && this._said?.key !== "offer_taken" && this._look(this._place));
  }

  // Called often; the edge is asked once for each place where a model is missed.
  consider(conversation, log) {
    if (!this._mayUse) return;
    const place = placeOf(conversation, log);
    if (place === this._place) return;
    this._place = place;
    this._said = null;
    this._found = [];
    this.draw();
    if (place) this._look(place);
  }

  draw() {
    this._around(() => this._put());
  }

  _put() {
    const declined = localStorage.getItem(DECLINED) === namesOf(this._found);
    this._node.hidden = !this._said && (!this._found.length || declined);
    if (this._node.hidden) this._node.replaceChildren();
    else if (this._said) this._node.replaceChildren(make("p", {}, word(this._said.key, this._said.values)));
    else this._node.replaceChildren(make("p", {}, word("offer_found")), this._buttons());
  }

  _buttons() {
    const shown = this._all ? this._found : this._found.slice(0, SHOWN_AT_FIRST);
    const buttons = shown.map((offer) =>
      make("button", { type: "button", class: "take", onclick: () => this._use(offer) }, word("offer_use", wordsOf(offer))),
    );
    if (shown.length < this._found.length) {
      buttons.push(make("button", { type: "button", class: "later", onclick: () => this._showAll() }, word("offer_more")));
    }
    const later = make("button", { type: "button", class: "later", onclick: () => this._decline() }, word("offer_later"));
    return make("div", { class: "offers" }, ...buttons, later);
  }

  async _look(place) {
    const response = await fetch("/v1/models/routes").catch(() => null);
    if (!response?.ok) return;
    const { routes, offers } = await response.json();
    if (place !== this._place) return;
    const found = routes.length ? [] : offers;
    if (!this._said && namesOf(found) === namesOf(this._found)) return;
    this._said = null;
    this._found = found;
    this.draw();
  }

  async _use(offer) {
    for (const button of this._node.querySelectorAll("button")) button.disabled = true;
    const body = JSON.stringify({ name: offer.name });
    const headers = { "content-type": "application/json" };
    const response = await fetch("/v1/models/use", { method: "POST", headers, body }).catch(() => null);
    const problem = response?.ok ? null : await response?.json().catch(() => null);
    if (response?.ok) this._said = { key: "offer_taken", values: wordsOf(offer) };
    else if (response?.status === 404) this._said = { key: "offer_gone", values: wordsOf(offer) };
    else this._said = { key: "offer_failed", values: { why: problem?.title ?? word("lost") } };
    this.draw();
  }

  _showAll() {
    this._all = true;
    this.draw();
    this._node.querySelectorAll(".take")[SHOWN_AT_FIRST]?.focus();
  }

  _decline() {
    localStorage.setItem(DECLINED, namesOf(this._found));
    this.draw();
  }
}

const namesOf = (offers) => offers.map((offer) => offer.name).join("\n");
const wordsOf = ({ model, server }) => ({ model, server: NAMES[server] ?? server });

// Where a model is missed: on the first page, and after a reply that says that there is none.
function placeOf(conversation, log) {
  if (log.empty) return `${conversation} first`;
  const line = log.lastReply;
  const text = (line?.parts ?? []).map((part) => part.text ?? "").join("") || line?.text || "";
  return text.includes(COMMAND) ? `${conversation} ${line.seq ?? line.at}` : "";
}
