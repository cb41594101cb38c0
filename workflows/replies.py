"""What Portico itself says, in English and Chinese. Pure, so that a replay says the same."""

from __future__ import annotations

from portico.contracts import Attachment, ExecutionResult, ExecutionStatus

TEXTS: dict[str, dict[str, str]] = {
    "help": {
        "en": (
            "I am Portico, your private gateway. Try one of these:\n\n"
            "- *what time is it in Tokyo?*\n- *what is 17 \\* 23?*\n- *what can you do?*\n- `/help`, `/stop`\n\n"
            "Everything I do can be read back in the history."
        ),
        "zh": (
            "我是 Portico，你的私人网关。可以试试：\n\n"
            "- *东京现在几点？*\n- *17 \\* 23 等于多少？*\n- *你能做什么？*\n- `/help`、`/stop`\n\n"
            "我做的每一步都可以在历史记录里查到。"
        ),
    },
    "calc_usage": {
        "en": "Tell me what to calculate, for example `/calc 17 * 23`.",
        "zh": "请告诉我要算什么，例如 `/calc 17 * 23`。",
    },
    "unknown_command": {
        "en": "I do not know the command {command}. `/help` lists what I can do.",
        "zh": "我不认识命令 {command}。发送 `/help` 查看我能做什么。",
    },
    "no_model": {
        "en": (
            "I have no language model configured, so I cannot answer free text yet. "
            "Small things work without one: the time, sums, `/help`.\n\n"
            "To add one, start Ollama (or any OpenAI-compatible server) and run `portico models use ollama/NAME`, "
            "or add `[llm.routes.NAME]` to `portico.toml`."
        ),
        "zh": (
            "我还没有配置语言模型，所以暂时不能回答这样的问题。不需要模型的小事可以做：时间、计算、`/help`。\n\n"
            "要添加模型，请启动 Ollama（或任何兼容 OpenAI 的服务），然后运行 `portico models use ollama/NAME`，"
            "或在 `portico.toml` 中添加 `[llm.routes.NAME]`。"
        ),
    },
    "model_offered": {
        "en": "\n\nI found a model server on this machine: {offers}. It is not used before you say so.",
        "zh": "\n\n我在这台机器上发现了模型服务：{offers}。未经你同意不会使用。",
    },
    "model_denied": {
        "en": "No language model may be used for this conversation ({reason}).",
        "zh": "此对话不允许使用语言模型（{reason}）。",
    },
    "failed": {
        "en": "Something went wrong on my side. Your message is kept as dead letter `{turn}` and can be tried again.",
        "zh": "我这边出了点问题。你的消息已保存为死信 `{turn}`，可以重试。",
    },
    "stopped": {"en": "Stopped.", "zh": "已停止。"},
    "nothing_to_stop": {"en": "There is nothing of yours to stop.", "zh": "没有属于你的、可以停止的任务。"},
    "waiting": {
        "en": "I have your message and am waiting for a part of me to come back. Nothing is lost.",
        "zh": "已收到你的消息，正在等待我的一个组件恢复。消息不会丢失。",
    },
    "writing": {
        "en": "I am still at it: the model takes its time, or is away. `/stop` ends it.",
        "zh": "仍在处理：模型需要更多时间，或暂时不可用。发送 `/stop` 可以停止。",
    },
    "pairing_code": {
        "en": (
            "I do not know you yet. Your pairing code is **{code}**. "
            "The owner of this Portico can let you in with `portico pair approve {code}`."
        ),
        "zh": "我还不认识你。你的配对码是 **{code}**。主人可以运行 `portico pair approve {code}` 让你使用。",
    },
    "paired": {
        "en": "We are paired now. Say hello, or send `/help`.",
        "zh": "配对成功。说声你好，或发送 `/help`。",
    },
    "pairing_failed": {
        "en": "This pairing link is not valid any more. Run `portico channels add telegram` for a new one.",
        "zh": "这个配对链接已失效。请运行 `portico channels add telegram` 获取新的链接。",
    },
    "attachments": {
        "en": "I have stored what you sent ({names}), encrypted. I cannot read such files yet.",
        "zh": "你发送的内容（{names}）已加密保存。我暂时还读不了这类文件。",
    },
    "attachments_failed": {
        "en": "I could not fetch {names} from the platform.",
        "zh": "无法从平台获取 {names}。",
    },
    "tool_denied": {
        "en": "I may not run `{tool}` for you: {reason}.",
        "zh": "我不能为你运行 `{tool}`：{reason}。",
    },
    "tool_failed": {"en": "`{tool}` did not work: {reason}.", "zh": "`{tool}` 没有成功：{reason}。"},
    "tool_cancelled": {"en": "`{tool}` was stopped.", "zh": "`{tool}` 已停止。"},
    "tool_unknown": {
        "en": "`{tool}` was interrupted; whether it took effect is unknown.",
        "zh": "`{tool}` 被中断，无法确定是否已生效。",
    },
    "file": {"en": "a file", "zh": "文件"},
}


def nearest(language: str) -> str:
    """The closest language that there are texts in."""
    return "zh" if language.lower().startswith("zh") else "en"


def text(name: str, language: str, **facts: str) -> str:
    """One of Portico's own sentences. Raises KeyError for a name that does not exist."""
    return TEXTS[name][nearest(language)].format(**facts)


def shown(word: str) -> str:
    """What somebody typed, short and as code, so that it is not read as CommonMark."""
    return "`" + word[:32].replace("`", "'") + "`"


def attachments_note(attachments: tuple[Attachment, ...], *, language: str, failed: tuple[str, ...]) -> str:
    """What became of attachments, and that they cannot be read yet."""
    stored = [shown(a.name) if a.name else text("file", language) for a in attachments if a.blob is not None]
    lines = []
    if stored:
        lines.append(text("attachments", language, names=", ".join(stored)))
    if failed:
        lines.append(text("attachments_failed", language, names=", ".join(shown(name) for name in failed)))
    return "\n\n".join(lines) or text("attachments_failed", language, names=text("file", language))


def tool_result(result: ExecutionResult, *, language: str) -> str:
    """A tool's end in words; its output as it is where it is text."""
    if result.status is ExecutionStatus.SUCCEEDED:
        return output_text(result)
    reason = result.error.message if result.error else str(result.status)
    if result.error is not None and result.error.code == "ask_again":
        return reason
    name = {
        ExecutionStatus.DENIED: "tool_denied",
        ExecutionStatus.CANCELLED: "tool_cancelled",
        ExecutionStatus.UNKNOWN: "tool_unknown",
        ExecutionStatus.INTERRUPTED: "tool_unknown",
    }.get(result.status, "tool_failed")
    return text(name, language, tool=result.tool_name, reason=reason)


def output_text(result: ExecutionResult) -> str:
    """The `text` of a structured output, a plain string as it is, anything else as JSON would show it."""
    output = result.output
    if isinstance(output, dict) and isinstance(output.get("text"), str):
        return str(output["text"])
    return output if isinstance(output, str) else str(output)
