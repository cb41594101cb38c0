// Renders the CommonMark used in replies as DOM nodes. Text is never parsed as HTML, so no HTML can be injected.

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:\s+(.*?))?\s*#*\s*$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])(\s+|$)/;
const TABLE_RULE = /^ {0,3}\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const SAFE_ADDRESS = /^(https?:|mailto:)/i;
const DEEPEST = 12;

export function renderMarkdown(text) {
  const fragment = document.createDocumentFragment();
  fragment.append(...blocks(text.replace(/\r\n?/g, "\n").replace(/\t/g, "    ").split("\n"), 0));
  return fragment;
}

function element(tag, children = [], attributes = {}) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function blocks(lines, depth) {
  const nodes = [];
  let at = 0;
  while (at < lines.length) {
    const rest = { lines, at, depth };
    const [node, next] = blank(lines[at]) ? [null, at + 1] : block(rest);
    if (node) nodes.push(node);
    at = next;
  }
  return nodes;
}

const blank = (line) => line.trim() === "";

function block(rest) {
  const line = rest.lines[rest.at];
  if (FENCE.test(line)) return fence(rest);
  if (HEADING.test(line)) return heading(rest);
  if (RULE.test(line)) return [element("hr"), rest.at + 1];
  if (rest.depth < DEEPEST && QUOTE.test(line)) return quote(rest);
  if (rest.depth < DEEPEST && ITEM.test(line)) return list(rest);
  if (/^ {4}/.test(line)) return indented(rest);
  if (line.includes("|") && TABLE_RULE.test(rest.lines[rest.at + 1] ?? "") && rest.lines[rest.at + 1].includes("|")) {
    return table(rest);
  }
  return paragraph(rest);
}

function fence({ lines, at }) {
  const [, mark, info] = lines[at].match(FENCE);
  const end = new RegExp(`^ {0,3}\\${mark[0]}{${mark.length},}\\s*$`);
  let last = at + 1;
  while (last < lines.length && !end.test(lines[last])) last += 1;
  return [code(lines.slice(at + 1, last).join("\n"), info.trim().split(/\s+/)[0]), last + 1];
}

function code(text, name) {
  const attributes = name ? { "data-language": name } : {};
  return element("pre", [element("code", [text], attributes)], { tabindex: "0" });
}

function heading({ lines, at }) {
  const [, marks, text] = lines[at].match(HEADING);
  // The page has its own h1 and h2; a reply's headings come below them.
  return [element(`h${Math.min(marks.length + 2, 6)}`, inline(text ?? "")), at + 1];
}

function indented({ lines, at }) {
  let last = at;
  while (last < lines.length && (/^ {4}/.test(lines[last]) || blank(lines[last]))) last += 1;
  while (blank(lines[last - 1])) last -= 1;
  return [code(lines.slice(at, last).map((line) => line.slice(4)).join("\n")), last];
}

function quote({ lines, at, depth }) {
  let last = at;
  while (last < lines.length && !blank(lines[last]) && (QUOTE.test(lines[last]) || !startsBlock(lines[last]))) last += 1;
  const inner = lines.slice(at, last).map((line) => line.replace(QUOTE, ""));
  return [element("blockquote", blocks(inner, depth + 1)), last];
}

function list({ lines, at, depth }) {
  const first = lines[at].match(ITEM)[2];
  const ordered = /\d/.test(first);
  const kind = first.at(-1);
  const items = [];
  let loose = false;
  let next = at;
  while (next < lines.length) {
    const match = lines[next].match(ITEM);
    if (!match || match[2].at(-1) !== kind || RULE.test(lines[next])) break;
    const [inner, end] = itemLines(lines, next, match);
    if (inner.some((line, index) => blank(line) && index < inner.length - 1)) loose = true;
    if (blank(lines[end - 1]) && ITEM.test(lines[end] ?? "")) loose = true;
    items.push(inner);
    next = end;
  }
  const attributes = ordered && Number.parseInt(first) !== 1 ? { start: String(Number.parseInt(first)) } : {};
  const nodes = items.map((inner) => element("li", tight(blocks(inner, depth + 1), loose)));
  return [element(ordered ? "ol" : "ul", nodes, attributes), next];
}

// The lines of one item without indentation, and the index of the line after it.
function itemLines(lines, at, match) {
  const space = match[3].length > 4 || match[3] === "" ? 1 : match[3].length;
  const width = match[1].length + match[2].length + space;
  const inner = [lines[at].slice(width)];
  let next = at + 1;
  while (next < lines.length) {
    const line = lines[next];
    const inside = line.startsWith(" ".repeat(width));
    if (blank(line)) {
      const after = lines[next + 1] ?? "";
      if (!after.startsWith(" ".repeat(width)) && !ITEM.test(after)) break;
      if (!ITEM.test(after) || after.startsWith(" ".repeat(width))) inner.push("");
    } else if (inside) {
      inner.push(line.slice(width));
    } else if (ITEM.test(line) || startsBlock(line) || blank(lines[next - 1])) {
      break;
    } else {
      inner.push(line.trimStart());
    }
    next += 1;
  }
  return [inner, next];
}

// In a tight list, items have no paragraphs.
function tight(nodes, loose) {
  if (loose) return nodes;
  return nodes.flatMap((node) => (node.tagName === "P" ? [...node.childNodes] : [node]));
}

function table({ lines, at, depth }) {
  const head = cells(lines[at]);
  const sides = cells(lines[at + 1]).map((rule) => (rule.endsWith(":") ? (rule.startsWith(":") ? "center" : "end") : ""));
  let last = at + 2;
  const rows = [];
  while (last < lines.length && !blank(lines[last]) && lines[last].includes("|")) rows.push(cells(lines[last++]));
  const row = (tag, values) =>
    element("tr", head.map((_, index) => element(tag, inline(values[index] ?? "", depth), side(sides[index]))));
  const body = rows.map((values) => row("td", values));
  const whole = element("table", [element("thead", [row("th", head)]), element("tbody", body)]);
  return [element("div", [whole], { class: "table", tabindex: "0" }), last];
}

const side = (name) => (name ? { class: `side-${name}` } : {});

function cells(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "");
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replace(/\\\|/g, "|"));
}

function paragraph({ lines, at }) {
  let last = at + 1;
  while (last < lines.length && !blank(lines[last]) && !startsBlock(lines[last])) last += 1;
  const text = lines.slice(at, last).map((line) => line.trimStart()).join("\n");
  return [element("p", inline(text.trimEnd())), last];
}

function startsBlock(line) {
  return FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || /^ {0,3}([-*+]|1[.)])\s+\S/.test(line);
}

// Each rule is tried at the current position; text that matches no rule is plain.
const INLINE = [
  [/\\([!-/:-@[-`{-~])/y, (match) => match[1]],
  [/( {2,}|\\)\n */y, () => element("br")],
  [/(`+)(?!`)([\s\S]*?[^`])\1(?!`)/y, (match) => element("code", [codeSpan(match[2])])],
  [/<((?:https?:|mailto:)[^\s<>]*)>/iy, (match) => link(match[1], [match[1]])],
  [/!?\[((?:[^[\]\\]|\\.|\[[^[\]]*\])*)\]\(\s*<?((?:[^\s<>()]|\([^\s<>()]*\))*)>?(?:\s+["'(][^"')]*["')])?\s*\)/y,
    (match, depth) => link(match[2], inline(match[1] || match[2], depth + 1))],
  [/(\*\*|__)(?=\S)([\s\S]*?\S)\1/y, (match, depth) => element("strong", inline(match[2], depth + 1)), wordBound],
  [/(\*|_)(?=[^\s*_])((?:\*\*[^*]+\*\*|[^*_]|(?<=\w)_(?=\w))*?[^\s*_])\1/y,
    (match, depth) => element("em", inline(match[2], depth + 1)), wordBound],
  [/~~(?=\S)([\s\S]*?\S)~~/y, (match, depth) => element("s", inline(match[1], depth + 1))],
  [/https?:\/\/[^\s<>"'`，。；：！？、）】]*[^\s<>"'`，。；：！？、）】.,;:!?)\]*_]/iy, (match) => link(match[0], [match[0]])],
];

// `snake_case_name` is not emphasis.
function wordBound(match, text) {
  if (match[1][0] !== "_") return true;
  return !/\w/.test(text[match.index - 1] ?? "") && !/\w/.test(text[match.index + match[0].length] ?? "");
}

function inline(text, depth = 0) {
  if (depth > DEEPEST) return [text];
  const nodes = [];
  let plain = "";
  let at = 0;
  while (at < text.length) {
    const hit = /[\\ `<![*_~h]/i.test(text[at]) ? inlineAt(text, at, depth) : null;
    if (!hit) {
      plain += text[at++];
      continue;
    }
    if (plain) nodes.push(plain);
    plain = "";
    nodes.push(hit.node);
    at = hit.end;
  }
  if (plain) nodes.push(plain);
  return nodes;
}

function inlineAt(text, at, depth) {
  for (const [rule, make, fits = () => true] of INLINE) {
    rule.lastIndex = at;
    const match = rule.exec(text);
    if (match && fits(match, text)) return { node: make(match, depth), end: at + match[0].length };
  }
  return null;
}

function codeSpan(text) {
  const line = text.replace(/\n/g, " ");
  return /^ .*[^ ].* $/.test(line) ? line.slice(1, -1) : line;
}

function link(address, children) {
  if (!SAFE_ADDRESS.test(address)) return element("span", children);
  return element("a", children, { href: address, target: "_blank", rel: "noopener noreferrer nofollow" });
}
