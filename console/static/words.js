// Words of the page in the reader's language. The edge serves them from the catalogue (portico/texts/).

import { WORDS } from "./texts.js";

export const language = () => (document.documentElement.lang === "zh" ? "zh" : "en");
export const locale = () => (language() === "zh" ? "zh-CN" : "en");

export function word(key, values = {}) {
  const text = WORDS[language()][key] ?? key;
  if (typeof text !== "string") return text;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

export function chooseLanguage(chosen) {
  document.documentElement.lang = chosen;
  localStorage.setItem("portico.language", chosen);
  putWords(document);
}

// Fills the marked elements: data-word sets the text, data-label the accessible name.
export function putWords(root) {
  for (const node of root.querySelectorAll("[data-word]")) node.textContent = word(node.dataset.word);
  for (const node of root.querySelectorAll("[data-label]")) {
    node.setAttribute("aria-label", word(node.dataset.label));
    if (node.tagName === "BUTTON") node.title = word(node.dataset.label);
  }
  for (const node of root.querySelectorAll("[data-placeholder]")) node.placeholder = word(node.dataset.placeholder);
}

export function clock(seconds) {
  return new Intl.DateTimeFormat(locale(), { hour: "numeric", minute: "2-digit" }).format(new Date(seconds * 1000));
}

export function day(seconds) {
  const date = new Date(seconds * 1000);
  const today = new Date();
  if (date.toDateString() === today.toDateString()) return word("today");
  today.setDate(today.getDate() - 1);
  if (date.toDateString() === today.toDateString()) return word("yesterday");
  return new Intl.DateTimeFormat(locale(), { dateStyle: "medium" }).format(date);
}
