// The composer: text, files, and the send and stop buttons. A draft survives a reload.

import { icon } from "./icons.js";
import { make } from "./view.js";
import { word } from "./words.js";

// A frame may have 1 MiB, and base64 encodes three bytes as four.
const FILES_LIMIT_BYTES = 700 * 1024;
const FILES_LIMIT = 10;
const STOP_AGAIN_MS = 5000;
const STOP_WITHIN_MS = 60000;
const $ = (id) => document.getElementById(id);

export class Composer {
  constructor({ send, stop }) {
    this._send = send;
    this._stop = stop;
    this._files = [];
    this._stoppedAt = 0;
    $("composer").addEventListener("submit", (event) => this._submit(event));
    $("send").onclick = (event) => this._submit(event);
    $("stop").onclick = () => this._requestStop();
    $("attach").onclick = () => $("file").click();
    $("file").onchange = () => this._addFiles([...$("file").files]);
    $("text").addEventListener("keydown", (event) => this._onKey(event));
    $("text").addEventListener("input", () => this._onChange());
    $("text").addEventListener("paste", (event) => this._onPaste(event));
    $("stage").addEventListener("dragover", (event) => event.preventDefault());
    $("stage").addEventListener("drop", (event) => {
      event.preventDefault();
      this._addFiles([...event.dataTransfer.files]);
    });
  }

  // Each conversation has its own draft.
  enter(name) {
    this._draftKey = `portico.draft.${name}`;
    this._files = [];
    $("text").value = localStorage.getItem(this._draftKey) ?? "";
    this._onChange();
    this._showFiles();
    if (matchMedia("(hover: hover)").matches) $("text").focus();
  }

  // True once after a stop was requested: the next reply without a known message confirms the stop.
  takeStop() {
    const requested = Date.now() - this._stoppedAt < STOP_WITHIN_MS;
    this._stoppedAt = 0;
    return requested;
  }

  set running(running) {
    $("stop").hidden = !running;
    $("stop").disabled = Date.now() - this._stoppedAt < STOP_AGAIN_MS;
  }

  _requestStop() {
    this._stoppedAt = Date.now();
    $("stop").disabled = true;
    this._stop();
    $("text").focus();
  }

  _onKey(event) {
    // While an input method (Chinese, for example) is composing, Enter accepts its suggestion and sends nothing.
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
    this._onChange();
    this._send(text, files);
    $("text").focus();
  }

  _onChange() {
    const area = $("text");
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight}px`;
    $("send").disabled = !area.value.trim() && !this._files.length;
    if (area.value) localStorage.setItem(this._draftKey, area.value);
    else localStorage.removeItem(this._draftKey);
  }

  _onPaste(event) {
    const files = [...event.clipboardData.files];
    if (!files.length) return;
    event.preventDefault();
    this._addFiles(files);
  }

  async _addFiles(files) {
    $("file").value = "";
    const size = [...this._files, ...files].reduce((sum, file) => sum + file.size, 0);
    if (size > FILES_LIMIT_BYTES) this._refuse(word("too_big", { size: "700 KB" }));
    else if (this._files.length + files.length > FILES_LIMIT) this._refuse(word("too_many_files"));
    else this._files.push(...(await Promise.all(files.map(readFile))));
    this._showFiles();
    this._onChange();
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
        this._onChange();
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
