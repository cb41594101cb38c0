// The connection to `/v1/chat`. Unacknowledged messages are stored (also across a reload) and sent again with the same
// id, from which the edge creates one turn; it reconnects by itself and resumes after the last reply received.

const FIRST_RETRY_MS = 400;
const LONGEST_RETRY_MS = 8000;
const ACK_WITHIN_MS = 15000;
const KEEP_ACKED_MS = 24 * 3600 * 1000;
const SIGNED_OUT = 4401;
const RETRYABLE = new Set(["unavailable", "too_many", "internal"]);

export function newId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  // randomUUID is only available over TLS or on localhost.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

// Messages that are not answered yet, oldest first: {id, text, at, locale, attachments, turn?, failed?}.
export class Outbox {
  constructor(name) {
    this._key = `portico.outbox.${name}`;
    this._fallback = [];
  }

  all() {
    try {
      const stored = JSON.parse(localStorage.getItem(this._key) ?? "[]");
      const fresh = stored.filter((message) => !message.turn || Date.now() - message.at * 1000 < KEEP_ACKED_MS);
      return [...fresh, ...this._fallback];
    } catch {
      return [...this._fallback];
    }
  }

  put(message) {
    const others = this.all().filter((other) => other.id !== message.id);
    this._write([...others, message].sort((one, other) => one.at - other.at));
  }

  change(id, changes) {
    const message = this.all().find((other) => other.id === id);
    if (message) this.put({ ...message, ...changes });
  }

  drop(id) {
    this._write(this.all().filter((message) => message.id !== id));
  }

  unsent() {
    return this.all().filter((message) => !message.turn && !message.failed);
  }

  _write(messages) {
    this._fallback = [];
    try {
      if (messages.length) localStorage.setItem(this._key, JSON.stringify(messages));
      else localStorage.removeItem(this._key);
    } catch {
      // localStorage is full or blocked: keep the messages in memory.
      this._fallback = messages;
      localStorage.removeItem(this._key);
    }
  }
}

export class Connection {
  // `handlers` has: frame(frame), state("connecting"|"open"|"lost"|"signed_out"), changed() for the outbox.
  constructor({ conversation, outbox, after, handlers }) {
    this._conversation = conversation;
    this._outbox = outbox;
    this._handlers = handlers;
    this._retryMs = FIRST_RETRY_MS;
    this._closed = false;
    this._sending = null;
    this.after = after;
    this._onWake = () => this._retryNow();
    window.addEventListener("online", this._onWake);
    document.addEventListener("visibilitychange", this._onWake);
    this._open();
  }

  send(message) {
    this._outbox.put(message);
    this._flush();
  }

  stop() {
    if (!this._ready) return;
    this._socket.send(JSON.stringify({ type: "stop" }));
  }

  retry(id) {
    this._outbox.change(id, { failed: "" });
    this._flush();
  }

  close() {
    this._closed = true;
    window.removeEventListener("online", this._onWake);
    document.removeEventListener("visibilitychange", this._onWake);
    clearTimeout(this._timer);
    clearTimeout(this._ackTimer);
    this._socket?.close();
  }

  _open() {
    this._timer = null;
    this._ready = false;
    this._handlers.state("connecting");
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/v1/chat`);
    this._socket = socket;
    socket.onopen = () => {
      socket.send(JSON.stringify({ type: "hello", after: this.after, conversation: this._conversation }));
    };
    socket.onmessage = (event) => this._receive(JSON.parse(event.data));
    socket.onclose = (event) => socket === this._socket && this._lost(event.code);
  }

  _lost(code) {
    this._ready = false;
    this._sending = null;
    clearTimeout(this._ackTimer);
    if (this._closed) return;
    if (code === SIGNED_OUT) {
      this._handlers.state("signed_out");
      return;
    }
    this._handlers.state("lost");
    this._timer = setTimeout(() => this._open(), this._retryMs * (0.75 + Math.random() / 2));
    this._retryMs = Math.min(this._retryMs * 1.7, LONGEST_RETRY_MS);
  }

  _retryNow() {
    if (!this._timer || document.visibilityState === "hidden" || this._ready) return;
    clearTimeout(this._timer);
    this._retryMs = FIRST_RETRY_MS;
    this._open();
  }

  _receive(frame) {
    if (frame.type === "hello") {
      this._ready = true;
      this._retryMs = FIRST_RETRY_MS;
      this._handlers.state("open");
      this._flush();
    } else if (frame.type === "reply") {
      if (frame.seq <= this.after) return;
      this.after = frame.seq;
    } else if (frame.type === "ack") {
      this._acked(frame);
    } else if (frame.type === "error") {
      this._refused(frame);
    }
    this._handlers.frame(frame);
  }

  // One at a time: messages are stored in the order they were written, and an error belongs to the last one sent.
  _flush() {
    if (!this._ready || this._sending) return;
    const message = this._outbox.unsent()[0];
    if (!message) return;
    this._sending = message.id;
    const { id, text, locale, attachments } = message;
    this._socket.send(JSON.stringify({ type: "message", id, text, locale, attachments }));
    const socket = this._socket;
    this._ackTimer = setTimeout(() => {
      if (socket !== this._socket) return;
      this._socket = null;
      socket.close();
      this._lost(0);
    }, ACK_WITHIN_MS);
  }

  _acked(frame) {
    clearTimeout(this._ackTimer);
    this._sending = null;
    const { attachments = [] } = this._outbox.all().find((message) => message.id === frame.id) ?? {};
    const named = attachments.map(({ name, media_type }) => ({ name, media_type }));
    this._outbox.change(frame.id, { turn: frame.turn, attachments: named });
    this._handlers.changed();
    this._flush();
  }

  _refused(frame) {
    const id = this._sending;
    if (!id) return;
    clearTimeout(this._ackTimer);
    if (RETRYABLE.has(frame.code)) {
      const after = (frame.retry_after_s ?? 2) * 1000;
      setTimeout(() => {
        if (this._sending !== id) return;
        this._sending = null;
        this._flush();
      }, after);
    } else {
      this._sending = null;
      this._outbox.change(id, { failed: frame.detail });
      this._flush();
    }
    this._handlers.changed();
  }
}
