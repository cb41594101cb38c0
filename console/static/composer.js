// Where a message is written: text, files, and the two buttons. What is half written survives a reload.

import { icon } from "./icons.js";
import { make } from "./view.js";
import { word } from "./words.js";

// A frame may have 1 MiB, and base64 makes four bytes of three.
const FILES_LIMIT_BYTES = 700 * 1024;
const FILES_LIMIT = 10;
const STOP_AGAIN_MS = 5000;
const STOP_WITHIN_MS = 60000;
const $ = (id) => document.getElementById(id);

export class Composer {
  constructor({ say, stop }) {
    this._say = say;
    this._stop = stop;
    this._files = [];
    this._stoppedAt = 0;
    $("composer").addEventListener("submit", (event) => this._submit(event));
    $("send").onclick = (event) => this._submit(event);
    $("stop").onclick = () => this._askToStop();
    $("attach").onclick = () => $("file").click();
    $("file").onchange = () => this._take([...$("file").files]);
    $("text").addEventListener("keydown", (event) => this._key(event));
    $("text").addEventListener("input", () => this._changed());
    $("text").addEventListener("paste", (event) => this._paste(event));
    $("stage").addEventListener("dragover", (event) => event.preventDefault());
    $("stage").addEventListener("drop", (event) => {
      event.preventDefault();
      this._take([...event.dataTransfer.files]);
    });
  }

  // Each conversation has its own half-written message.
  enter(name) {
    this._key_ = `portico.draft.${name}`;
    this._files = [];
    $("text").value = localStorage.getItem(this._key_) ?? "";
    this._changed();
    this._showFiles();
    if (matchMedia("(hover: hover)").matches) $("text").focus();
  }

  // True once after a stop was asked for: the next reply that answers nobody's words is its own.
  takeStop() {
    const asked = Date.now() - this._stoppedAt < STOP_WITHIN_MS;
    this._stoppedAt = 0;
    return asked;
  }

  set running(running) {
    $("stop").hidden = !running;
    $("stop").disabled = Date.now() - this._stoppedAt < STOP_AGAIN_MS;
  }

  _askToStop() {
    this._stoppedAt = Date.now();
    $("stop").disabled = true;
    this._stop();
    $("text").focus();
  }

  _key(event) {
    // While a Chinese (or any other) input method is open, Enter takes its suggestion and sends nothing.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    this._submit(event);
  }

  _submit(event) {
    event.preventDefault();
    const text = $("text").value.trim();
    if (!text && !this._files.length) return;
    const files = this._files.map(({ name, media_type, data }) => ({ name, media_type, data }));
    $("text").value = "";
    this._files = [];
    this._showFiles();
    this._changed();
    this._say(text, files);
    $("text").focus();
  }

  _changed() {
    const area = $("text");
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight}px`;
    $("send").disabled = !area.value.trim() && !this._files.length;
    if (area.value) localStorage.setItem(this._key_, area.value);
    else localStorage.removeItem(this._key_);
  }

  _paste(event) {
    const files = [...event.clipboardData.files];
    if (!files.length) return;
    event.preventDefault();
    this._take(files);
  }

  async _take(files) {
    $("file").value = "";
    const size = [...this._files, ...files].reduce((sum, file) => sum + file.size, 0);
    if (size > FILES_LIMIT_BYTES) this._refuse(word("too_big", { size: "700 KB" }));
    else if (this._files.length + files.length > FILES_LIMIT) this._refuse(word("too_many_files"));
    else this._files.push(...(await Promise.all(files.map(readFile))));
    this._showFiles();
    this._changed();
    $("text").focus();
  }

  _refuse(text) {
    $("refused").textContent = text;
    $("refused").hidden = false;
    clearTimeout(this._refusedTimer);
    this._refusedTimer = setTimeout(() => ($("refused").hidden = true), 6000);
  }

  _showFiles() {
    const items = this._files.map((file) => {
      const remove = () => {
        this._files = this._files.filter((other) => other !== file);
        this._showFiles();
        this._changed();
      };
      const label = `${word("remove")}: ${file.name}`;
      const button = make("button", { type: "button", "aria-label": label, onclick: remove }, icon("close"));
      return make("li", { class: "chip" }, icon("file"), make("span", {}, file.name), button);
    });
    $("files").replaceChildren(...items);
    $("files").hidden = !items.length;
  }
}

function readFile(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onerror = () => reject(reader.error);
    reader.onload = () => {
      const data = reader.result.slice(reader.result.indexOf(",") + 1);
      resolve({ name: file.name, size: file.size, media_type: file.type || "application/octet-stream", data });
    };
    reader.readAsDataURL(file);
  });
}
