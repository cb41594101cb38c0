// What the page says, in the languages that it speaks.

const WORDS = {
  en: {
    product: "Portico",
    conversations: "Conversations",
    new_conversation: "New conversation",
    main: "First conversation",
    unnamed: "New conversation",
    close: "Close",
    theme_system: "Theme: system",
    theme_light: "Theme: light",
    theme_dark: "Theme: dark",
    other_language: "中文",
    sign_out: "Sign out",
    log: "What was said",
    welcome: "What can I do for you?",
    welcome_more: "What you write is kept on this machine, encrypted. Some things to try:",
    try_this: "Things to try",
    earlier: "Earlier messages",
    to_bottom: "To the newest message",
    message: "Write a message",
    hint: "Enter sends, Shift + Enter makes a new line",
    attach: "Attach a file",
    attached_files: "Attached files",
    remove: "Remove",
    stop: "Stop",
    send: "Send",
    sending: "sending…",
    kept: "kept, will be sent",
    not_sent: "not sent",
    again: "Try again",
    discard: "Discard",
    history: "history",
    history_label: "How this reply came about, step by step",
    copy: "Copy",
    copied: "Copied",
    you: "You",
    thinking: "Portico is writing",
    progress: "A tool is working",
    picture: "A picture",
    waiting: "A part of Portico is not answering right now. Your message is kept and will be answered.",
    connecting: "Connecting…",
    lost: "Connection lost, trying again…",
    offline: "No network. Messages are kept here.",
    signed_out: "Your session has ended.",
    too_big: "Files of one message may have {size} together.",
    too_many_files: "At most 10 files in one message.",
    history_failed: "Earlier messages cannot be loaded right now.",
    offer_found: "A model server was found on this machine. It is not used before you say so.",
    offer_use: "Use {model} ({server})",
    offer_more: "More…",
    offer_later: "Not now",
    offer_taken: "{model} ({server}) answers free text from your next message on.",
    offer_gone: "{model} does not answer any more. Is its server still running?",
    offer_failed: "That did not work: {why}",
    today: "Today",
    yesterday: "Yesterday",
    suggestions: ["What time is it in Tokyo?", "What is 17 × 23?", "What can you do?", "Say hello"],
  },
  zh: {
    product: "Portico",
    conversations: "对话",
    new_conversation: "新对话",
    main: "第一个对话",
    unnamed: "新对话",
    close: "关闭",
    theme_system: "外观：跟随系统",
    theme_light: "外观：浅色",
    theme_dark: "外观：深色",
    other_language: "English",
    sign_out: "退出",
    log: "对话内容",
    welcome: "有什么可以帮你？",
    welcome_more: "你写的内容加密保存在这台机器上。可以先试试：",
    try_this: "可以试试",
    earlier: "更早的消息",
    to_bottom: "跳到最新消息",
    message: "输入消息",
    hint: "按 Enter 发送，Shift + Enter 换行",
    attach: "添加文件",
    attached_files: "已添加的文件",
    remove: "移除",
    stop: "停止",
    send: "发送",
    sending: "发送中…",
    kept: "已保存，稍后发送",
    not_sent: "未发送",
    again: "重试",
    discard: "丢弃",
    history: "过程",
    history_label: "逐步查看这条回复是怎样得出的",
    copy: "复制",
    copied: "已复制",
    you: "你",
    thinking: "Portico 正在回复",
    progress: "工具正在运行",
    picture: "图片",
    waiting: "Portico 的某个部分暂时没有响应。你的消息已保存，恢复后会回复。",
    connecting: "正在连接…",
    lost: "连接中断，正在重试…",
    offline: "没有网络，消息会先保存在这里。",
    signed_out: "登录已失效。",
    too_big: "一条消息的文件总共不能超过 {size}。",
    too_many_files: "一条消息最多 10 个文件。",
    history_failed: "暂时无法加载更早的消息。",
    offer_found: "在这台机器上发现了模型服务。未经你同意不会使用。",
    offer_use: "使用 {model}（{server}）",
    offer_more: "更多…",
    offer_later: "暂不使用",
    offer_taken: "从下一条消息起，由 {model}（{server}）回答。",
    offer_gone: "{model} 已没有响应。它的服务还在运行吗？",
    offer_failed: "没有成功：{why}",
    today: "今天",
    yesterday: "昨天",
    suggestions: ["东京现在几点？", "17 × 23 等于多少？", "你能做什么？", "你好"],
  },
};

export const language = () => (document.documentElement.lang === "zh" ? "zh" : "en");
export const locale = () => (language() === "zh" ? "zh-CN" : "en");

export function word(key, values = {}) {
  const found = WORDS[language()][key] ?? key;
  if (typeof found !== "string") return found;
  return found.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

export function chooseLanguage(chosen) {
  document.documentElement.lang = chosen;
  localStorage.setItem("portico.language", chosen);
  putWords(document);
}

// Fills what the shell has marked: data-word is text, data-label a name for those who do not see it.
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
