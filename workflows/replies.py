"""What Portico itself says, in English and Chinese. Pure, so that a replay says the same."""

from __future__ import annotations

import re

from portico.contracts.messages import (
    ARTIFACT_KEY,
    Attachment,
    BlobRef,
    Effect,
    ExecutionResult,
    ExecutionStatus,
    FilePart,
)
from portico.contracts.steps import AllowedRoute, ModelAnswer
from portico.contracts.tool_steps import ListedTool, OfferAnswer, ToolWaiting
from workflows.state import KeptFile

TEXTS: dict[str, dict[str, str]] = {
    "help": {
        "en": (
            "I am Portico, your private gateway. Try one of these:\n\n"
            "- *what time is it in Tokyo?*\n- *what is 17 \\* 23?*\n- *what can you do?*\n\n"
            "Commands: `/tools` lists what I can use for you, `/tool NAME key=value` runs one, `/model` shows and "
            "chooses the language model, `/stop` ends what runs, `/help` is this.\n\n"
            "Everything I do can be read back in the history."
        ),
        "zh": (
            "我是 Portico，你的私人网关。可以试试：\n\n"
            "- *东京现在几点？*\n- *17 \\* 23 等于多少？*\n- *你能做什么？*\n\n"
            "命令：`/tools` 列出可用的工具，`/tool 名称 参数=值` 运行工具，`/model` 查看和选择语言模型，"
            "`/stop` 停止正在进行的任务，`/help` 显示本帮助。\n\n"
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
    "tools_none": {"en": "There are no tools.", "zh": "没有工具。"},
    "tools_listed": {
        "en": "Run one with `/tool NAME key=value`:\n\n{lines}",
        "zh": "用 `/tool 名称 参数=值` 运行：\n\n{lines}",
    },
    "tool_asks": {"en": "needs a yes first", "zh": "需先获得同意"},
    "tool_not_allowed": {"en": "not for you: {reason}", "zh": "你不能使用：{reason}"},
    "tool_not_there": {"en": "cannot run now: {reason}", "zh": "暂时不能运行：{reason}"},
    "tool_problems": {"en": "\n\nNot read:\n\n{lines}", "zh": "\n\n无法读取：\n\n{lines}"},
    "tool_usage": {
        "en": 'Name the tool and its parameters: `/tool time place="New York"`. `/tools` lists them.',
        "zh": '请写出工具名称和参数：`/tool time place="纽约"`。`/tools` 列出全部工具。',
    },
    "tool_unclosed": {
        "en": "I cannot read the parameters: {mark} is not closed, or what follows it is not JSON.",
        "zh": "无法读取参数：{mark} 没有闭合，或后面的内容不是 JSON。",
    },
    "tool_unheard": {"en": "There is no tool {tool}.", "zh": "没有名为 {tool} 的工具。"},
    "tool_nearest": {"en": " Did you mean {nearest}?", "zh": "你是不是想用 {nearest}？"},
    "tool_unavailable": {
        "en": "{tool} cannot run now: {reason}.",
        "zh": "{tool} 暂时不能运行：{reason}。",
    },
    "tool_faults": {
        "en": "{tool} was not run:\n\n{faults}\n\nIt is called like this: `{usage}`",
        "zh": "没有运行 {tool}：\n\n{faults}\n\n用法：`{usage}`",
    },
    "tools_without_answer": {
        "en": "(I have used the tools that I may use for one message, and have no answer.)",
        "zh": "（一条消息可用的工具次数已用完，但仍没有得出回答。）",
    },
    "could_not_call": {
        "en": "I could not call {tool}: {problem}.",
        "zh": "我没能调用 {tool}：{problem}。",
    },
    "model_not_yours": {
        "en": "In a group only the owner or an admin chooses the model.",
        "zh": "在群组中只有主人或管理员可以选择模型。",
    },
    "model_pinned": {
        "en": "From now on {route} ({model}) answers here. `/model auto` lets me choose again.",
        "zh": "从现在起由 {route}（{model}）在此回答。发送 `/model auto` 恢复自动选择。",
    },
    "model_not_pinned": {
        "en": "{route} cannot be used here ({reason}). There is: {routes}.",
        "zh": "这里不能使用 {route}（{reason}）。可用的有：{routes}。",
    },
    "route_refused": {
        "en": (
            "This conversation asked for the model {route}, which may not be used ({reason}). "
            "`/model auto` lets me choose another one."
        ),
        "zh": "此对话指定了模型 {route}，但不能使用（{reason}）。发送 `/model auto` 由我另选。",
    },
    "routes": {
        "en": "{lines}\n\n`/model NAME` chooses one for this conversation, `/model auto` leaves it to me.",
        "zh": "{lines}\n\n`/model 名称` 为此对话选择模型，`/model auto` 由我选择。",
    },
    "route_used": {"en": "**in use**", "zh": "**正在使用**"},
    "route_chosen": {"en": "**chosen by you**", "zh": "**由你选定**"},
    "local": {"en": "on this machine", "zh": "在本机"},
    "cloud": {"en": "in the cloud", "zh": "在云端"},
    "yes": {"en": "Yes, do it", "zh": "同意"},
    "no": {"en": "No", "zh": "拒绝"},
    "approval": {
        "en": (
            "**{tool}** wants to run and needs a yes ({what}; risk: {risk}).\n\n{parameters}\n\n"
            "`/approve {code}` or `/deny {code}`, within {hours} h."
        ),
        "zh": (
            "**{tool}** 需要同意后才能运行（{what}；风险：{risk}）。\n\n{parameters}\n\n"
            "{hours} 小时内发送 `/approve {code}` 同意，或 `/deny {code}` 拒绝。"
        ),
    },
    "effects_none": {"en": "it changes nothing", "zh": "不改变任何东西"},
    "effects_read": {"en": "it reads", "zh": "只读取"},
    "effects_write": {"en": "it changes things", "zh": "会做出更改"},
    "risk_low": {"en": "low", "zh": "低"},
    "risk_medium": {"en": "medium", "zh": "中"},
    "risk_high": {"en": "high", "zh": "高"},
    "no_parameters": {"en": "(no parameters)", "zh": "（无参数）"},
    "approval_by_others": {
        "en": "The owner or an admin can answer, in a chat of their own: `/approve {run}`",
        "zh": "主人或管理员可以在自己的对话中回答：`/approve {run}`",
    },
    "approval_given": {"en": "Yes noted: {tool} runs now.", "zh": "已同意：{tool} 现在运行。"},
    "approval_refused": {"en": "No noted: {tool} does not run.", "zh": "已拒绝：{tool} 不会运行。"},
    "approval_approved": {"en": "That was approved before.", "zh": "此前已经同意了。"},
    "approval_denied": {"en": "That was denied before.", "zh": "此前已经拒绝了。"},
    "approval_ended": {
        "en": "That is over: it has expired, was stopped, or was answered elsewhere.",
        "zh": "已经结束：可能已过期、已停止，或已在别处回答。",
    },
    "approval_unknown": {"en": "I wait for no yes named {code}.", "zh": "没有代码为 {code} 的待批准请求。"},
    "approval_not_yours": {
        "en": "You may not answer that: the owner or an admin has to.",
        "zh": "你不能回答：需要主人或管理员来决定。",
    },
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


def kept_files(result: ExecutionResult) -> tuple[KeptFile, ...]:
    """What a run has kept, for the person to see."""
    return tuple(
        KeptFile(
            invocation_id=result.invocation_id,
            name=one.name,
            media_type=one.media_type,
            size_bytes=one.size_bytes,
            url=one.url,
        )
        for one in result.artifacts
    )


def file_parts(files: tuple[KeptFile, ...]) -> tuple[FilePart, ...]:
    """As parts of a reply: a picture where it is one."""
    return tuple(
        FilePart(
            type="image" if one.media_type.startswith("image/") else "file",
            name=one.name,
            media_type=one.media_type,
            blob=BlobRef(key=f"{ARTIFACT_KEY}{one.invocation_id}/{one.name}", size_bytes=one.size_bytes),
            url=one.url,
        )
        for one in files
    )


def tool_list(answer: OfferAnswer, *, language: str) -> str:
    """Every tool in a line: usable ones first."""
    if not answer.tools:
        return text("tools_none", language)
    ordered = sorted(answer.tools, key=lambda tool: (not tool.usable, tool.name))
    lines = "\n".join(f"- {_tool_line(tool, language)}" for tool in ordered)
    problems = "\n".join(f"- {shown_fault(problem)}" for problem in answer.problems)
    more = text("tool_problems", language, lines=problems) if problems else ""
    return text("tools_listed", language, lines=lines) + more


def _tool_line(tool: ListedTool, language: str) -> str:
    line = f"`{tool.name}` – {shown_fault(tool.description)}"
    if tool.unavailable:
        return f"{line} ({text('tool_not_there', language, reason=tool.unavailable)})"
    if tool.effect is Effect.DENY:
        return f"{line} ({text('tool_not_allowed', language, reason=tool.reason)})"
    return f"{line} ({text('tool_asks', language)})" if tool.effect is Effect.ASK else line


def route_list(answer: ModelAnswer, routes: tuple[AllowedRoute, ...], *, pinned: str, language: str) -> str:
    """The routes in the order in which they are tried, and those that policy refuses."""
    lines = []
    for number, allowed in enumerate(routes):
        route = allowed.route
        line = f"- {shown(route.name)} ({route.model}, {text(route.locality, language)})"
        if number == 0:
            line += " – " + text("route_chosen" if route.name == pinned else "route_used", language)
        lines.append(line)
    lines += [f"- {shown_fault(refused)}" for refused in answer.refused]
    return text("routes", language, lines="\n".join(lines))


def approval_text(waiting: ToolWaiting, code: str, *, now: float, language: str) -> str:
    """What is to be done, exactly, and how to answer. What a tool or model wrote stands in a fence."""
    inside = waiting.parameters_shown.replace("`", "'").strip()
    parameters = f"```\n{inside}\n```" if inside else text("no_parameters", language)
    hours = max(1, round((waiting.expires_at - now) / 3600)) if waiting.expires_at else 24
    return text(
        "approval",
        language,
        tool=waiting.tool_name,
        what=text(f"effects_{waiting.effects}", language) if waiting.effects else "?",
        risk=text(f"risk_{waiting.risk}", language) if waiting.risk else "?",
        parameters=parameters,
        code=code,
        hours=str(hours),
    )


def shown_fault(fault: str) -> str:
    """A line of somebody else's, on one line and without what CommonMark would read as more than words."""
    line = " ".join(fault.split())[:300]
    return re.sub(r"([\\`*_\[\]<>])", r"\\\1", line)
