// The conversation's model in this page: stored lines, new replies, and messages in the outbox.

import { dayLine, draftLine, progressLine, replyLine, userLine } from "./view.js";

const NEAR_END_PX = 120;
// A message older than this no longer counts as waiting for its reply.
const RUNNING_FOR_S = 600;
// Progress not updated for this long is removed: the tool has ended unnoticed, or reports nothing.
const PROGRESS_FOR_MS = 60000;
const TICK_S = 0.001;
// A tool run's id contains the id of its turn.
const RUN = /^tool-([0-9a-f]+)-\d+$/;

export class Log {
  constructor({ node, scroll, outbox, actions }) {
    this._node = node;
    this._scroll = scroll;
    this._outbox = outbox;
    this._actions = actions;
    this._lines = [];
    this._drafts = new Map();
    this._working = new Map();
    this._ended = new Set();
    this._nodes = new Map();
    this.historyUrl = "";
  }

  get empty() {
    return this._lines.length === 0 && this._outbox.all().length === 0;
  }

  // The last reply, if it is the last line and no turn is running.
  get lastReply() {
    const line = this._lines.at(-1);
    return line?.role === "assistant" && !this.running.length ? line : null;
  }

  get lastSeq() {
    return Math.max(0, ...this._lines.map((line) => line.seq ?? 0));
  }

  get firstAt() {
    return this._lines[0]?.at;
  }

  // This person's turns that are acknowledged and not answered yet.
  get running() {
    const since = Date.now() / 1000 - RUNNING_FOR_S;
    const turns = this._outbox.all().filter((message) => message.turn && message.at > since);
    return turns.map((message) => message.turn).filter((turn) => !this._ended.has(turn));
  }

  knows(turn) {
    return this._outbox.all().some((m) => m.turn === turn) || this._lines.some((l) => l.role === "user" && l.turn === turn);
  }

  // Stored lines from the edge; they replace local lines of the same messages and replies.
  remember(lines) {
    const ids = new Set(lines.map((line) => line.message_id).filter(Boolean));
    const seqs = new Set(lines.map((line) => line.seq).filter(Boolean));
    const texts = new Set(lines.filter((line) => !line.message_id && !line.seq).map(keyOfPlain));
    const others = this._lines.filter((line) => !ids.has(line.id) && !seqs.has(line.seq) && !texts.has(keyOfPlain(line)));
    const stored = lines.map((line) => ({ attachments: this._filesOf(line.message_id), ...line, id: line.message_id }));
    this._lines = [...others, ...stored].sort((one, other) => one.at - other.at || (one.seq ?? 0) - (other.seq ?? 0));
    for (const line of lines) {
      if (line.role === "assistant") this._end(line.turn);
      else if (line.text.trim() === "/stop") this._endBefore(line.at);
    }
    for (const id of ids) this._settle(id);
    this.draw();
  }

  reply(frame) {
    this._end(frame.turn);
    if (!this._lines.some((line) => line.seq === frame.seq)) {
      const at = frame.at || Date.now() / 1000;
      this._keepAnswered(frame.turn);
      this._lines.push({ role: "assistant", text: "", ...frame, at: Math.max(at, this._lines.at(-1)?.at ?? 0) });
    }
    this.draw();
  }

  // A fast reply can overtake the acknowledgement of what it answers.
  acked(turn) {
    if (!this._ended.has(turn)) return;
    this._keepAnswered(turn);
    this.draw();
  }

  // Offset 0 restarts the draft: generation was retried. Offsets count code points, as on the server.
  delta({ turn, text, offset }) {
    if (this._ended.has(turn)) return;
    this._doneWorking(turn);
    let draft = this._drafts.get(turn);
    if (!draft) {
      draft = { written: [], node: draftLine(turn), scheduled: false };
      this._drafts.set(turn, draft);
      this.draw();
    }
    if (offset > draft.written.length) return;
    draft.written.length = offset;
    draft.written.push(...text);
    if (draft.scheduled) return;
    draft.scheduled = true;
    requestAnimationFrame(() => {
      draft.scheduled = false;
      this.keepingEnd(() => draft.node.show(draft.written.join("")));
    });
  }

  // A tool's progress. Removed with the turn's next reply, or after PROGRESS_FOR_MS without an update.
  progress({ invocation, tool, text, fraction }) {
    const turn = RUN.exec(invocation)?.[1];
    if (!turn) return;
    if (!this._working.has(turn)) this._working.set(turn, { node: progressLine(), timer: 0 });
    const working = this._working.get(turn);
    clearTimeout(working.timer);
    working.timer = setTimeout(() => (this._doneWorking(turn), this.draw()), PROGRESS_FOR_MS);
    this.keepingEnd(() => working.node.show({ tool, text, fraction }));
    this.draw();
  }

  // After `/stop` the turns that were running send no further replies.
  stopped() {
    this._endBefore(Infinity);
    for (const turn of [...this._working.keys()]) this._doneWorking(turn);
    this.draw();
  }

  draw() {
    this.keepingEnd(() => this._put(this._wanted()));
  }

  redraw() {
    this._nodes.clear();
    this.draw();
  }

  toEnd(smooth = false) {
    this._scroll.scrollTo({ top: this._scroll.scrollHeight, behavior: smooth ? "smooth" : "instant" });
  }

  nearEnd() {
    const { scrollTop, clientHeight, scrollHeight } = this._scroll;
    return scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
  }

  _wanted() {
    const wanted = [];
    let day = "";
    for (const line of [...this._lines, ...this._unstored()]) {
      const name = new Date(line.at * 1000).toDateString();
      if (name !== day) wanted.push(this._cached(`day ${name}`, () => dayLine(line.at)));
      day = name;
      wanted.push(this._lineNode(line));
    }
    for (const [turn, draft] of this._drafts) if (!this._ended.has(turn)) wanted.push(draft.node);
    for (const { node } of this._working.values()) wanted.push(node);
    // One waiting indicator for all running turns.
    if (this.running.length && !this._drafts.size && !this._working.size) wanted.push(this._cached("wait", () => draftLine("")));
    return wanted;
  }

  _unstored() {
    const known = new Set(this._lines.map((line) => line.id).filter(Boolean));
    return this._outbox.all().filter((message) => !known.has(message.id)).map((message) => ({ role: "user", ...message }));
  }

  _filesOf(id) {
    if (!id) return [];
    return [...this._lines, ...this._outbox.all()].find((line) => line.id === id)?.attachments ?? [];
  }

  _lineNode(line) {
    if (line.role === "user") {
      const mark = markOf(line);
      const context = { mark, actions: this._actions };
      return this._cached(`user ${line.id || `${line.turn} ${line.at}`} ${mark}`, () => userLine(line, context));
    }
    const context = { historyUrl: this.historyUrl, choose: this._actions.choose };
    const key = `reply ${line.seq || `${line.turn} ${line.at}`} ${this.historyUrl}`;
    return this._cached(key, () => replyLine(line, context));
  }

  _cached(key, build) {
    if (!this._nodes.has(key)) this._nodes.set(key, build());
    return this._nodes.get(key);
  }

  // Touches only changed nodes, so that focus, selection and screen readers keep their place.
  _put(wanted) {
    const keep = new Set(wanted);
    for (const node of [...this._node.children]) if (!keep.has(node)) node.remove();
    wanted.forEach((node, index) => {
      if (this._node.children[index] !== node) this._node.insertBefore(node, this._node.children[index] ?? null);
    });
  }

  keepingEnd(change) {
    const follow = !this.empty && this.nearEnd();
    change();
    if (follow) this.toEnd();
  }

  _endBefore(at) {
    for (const message of this._outbox.all()) if (message.turn && message.at <= at) this._end(message.turn);
  }

  _end(turn) {
    this._ended.add(turn);
    this._drafts.delete(turn);
    this._doneWorking(turn);
  }

  _doneWorking(turn) {
    clearTimeout(this._working.get(turn)?.timer);
    this._working.delete(turn);
  }

  // Moves an answered message from the outbox into the lines. Earlier messages that are still waiting become lines, too:
  // a tool's reply may arrive after the reply to a later message.
  _keepAnswered(turn) {
    const sent = this._outbox.all().filter((message) => message.turn);
    const last = sent.findIndex((message) => message.turn === turn);
    if (last < 0) return;
    for (const message of sent.slice(0, last + 1)) {
      if (!this._lines.some((line) => line.id === message.id)) this._insertMessage(message, turn);
    }
    this._outbox.drop(sent[last].id);
  }

  // Lines have the server's time, outbox messages the browser's: the time is adjusted to fit between its neighbors.
  _insertMessage(message, answeredTurn) {
    const answer = this._lines.findIndex((line) => line.role === "assistant" && line.turn === answeredTurn);
    const index = answer < 0 ? this._lines.length : answer;
    const before = this._lines[index - 1]?.at ?? 0;
    const at = answer < 0 ? Math.max(message.at, before + TICK_S) : Math.max(before, this._lines[answer].at - TICK_S);
    this._lines.splice(index, 0, { ...message, role: "user", at });
  }

  // Drops an answered message from the outbox once the edge has stored it.
  _settle(id) {
    const message = this._outbox.all().find((other) => other.id === id);
    if (message?.turn && this._ended.has(message.turn)) this._outbox.drop(id);
    else if (message && !message.turn) {
      const line = this._lines.find((other) => other.id === id);
      this._outbox.change(id, { turn: line.turn });
    }
  }
}

const keyOfPlain = (line) => `${line.role} ${line.turn} ${line.at} ${line.seq ?? 0}`;

function markOf(line) {
  if (line.failed) return "failed";
  if (line.turn) return "sent";
  return Date.now() / 1000 - line.at > 4 ? "kept" : "sending";
}
