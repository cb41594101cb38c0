"""What a language model's folder says of itself: `genai_config.json`, `tokenizer.json`, the chat template.

The layout is the one that onnxruntime-genai reads and its model builder writes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

CONFIG = "genai_config.json"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
TEMPLATE = "chat_template.jinja"
PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "dml": "DmlExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}


class NotAModel(Exception):
    """The folder holds no language model that can be served; the message names what is wrong."""


@dataclass(frozen=True)
class Names:
    """Of the graph's inputs and outputs. Those of the cache are patterns with the layer's number."""

    ids: str
    mask: str
    positions: str
    past: tuple[str, str]
    logits: str
    present: tuple[str, str]

    def cache(self, layers: int) -> list[tuple[str, str]]:
        """(input, output) of every part of the cache."""
        return [
            (past % layer, present % layer)
            for layer in range(layers)
            for past, present in zip(self.past, self.present, strict=True)
        ]


@dataclass(frozen=True)
class ModelConfig:
    """The part of `genai_config.json` that decoding needs."""

    file: str
    layers: int
    kv_heads: int
    head_size: int
    vocabulary: int
    context: int
    ends: frozenset[int]
    pad: int
    names: Names
    providers: tuple[tuple[str, dict[str, Any]], ...]
    search: dict[str, Any]


def read_config(folder: Path) -> ModelConfig:
    """Raises `NotAModel` with the key that is missing or wrong."""
    model = _part(_read(folder / CONFIG), "model", CONFIG)
    decoder = _part(model, "decoder", f"{CONFIG}: model")
    ends = model.get("eos_token_id")
    ends = ends if isinstance(ends, list) else [ends]
    if not ends or not all(isinstance(end, int) for end in ends):
        raise NotAModel(f"{CONFIG}: model.eos_token_id is missing")
    pad = model.get("pad_token_id")
    return ModelConfig(
        file=_file(decoder.get("filename")),
        layers=_count(decoder, "num_hidden_layers"),
        kv_heads=_count(decoder, "num_key_value_heads"),
        head_size=_count(decoder, "head_size"),
        vocabulary=_count(model, "vocab_size"),
        context=_count(model, "context_length"),
        ends=frozenset(ends),
        pad=pad if isinstance(pad, int) else ends[0],
        names=_names(decoder),
        providers=tuple(_providers(decoder)),
        search=_read(folder / CONFIG).get("search") or {},
    )


def chat_template(folder: Path) -> tuple[str, dict[str, str]]:
    """The template, and the special words that it may name. Raises `NotAModel` where there is none."""
    path = folder / TOKENIZER_CONFIG
    config = _read(path) if path.exists() else {}
    words = {
        name: value["content"] if isinstance(value, dict) else value
        for name in ("bos_token", "eos_token", "pad_token", "unk_token")
        if (value := config.get(name))
    }
    template = config.get("chat_template")
    if (folder / TEMPLATE).exists():
        template = (folder / TEMPLATE).read_text(encoding="utf-8")
    if isinstance(template, list):
        named = {each.get("name"): each.get("template") for each in template if isinstance(each, dict)}
        template = named.get("tool_use") or named.get("default")
    if not isinstance(template, str) or not template.strip():
        raise NotAModel(f"it has no chat template ({TEMPLATE}, or chat_template in {TOKENIZER_CONFIG})")
    return template, words


def inside(name: str) -> bool:
    """Whether a relative path stays in its folder."""
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\\" not in name


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotAModel(f"{path.name} is missing") from None
    except (OSError, ValueError) as error:
        raise NotAModel(f"{path.name} cannot be read: {str(error)[:200]}") from None
    if not isinstance(content, dict):
        raise NotAModel(f"{path.name} is not a JSON object")
    return content


def _part(content: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    part = content.get(key)
    if not isinstance(part, dict):
        raise NotAModel(f"{where}.{key} is missing")
    return part


def _count(part: dict[str, Any], key: str) -> int:
    value = part.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise NotAModel(f"{CONFIG}: {key} is missing")
    return value


def _file(name: object) -> str:
    if not isinstance(name, str) or not inside(name):
        raise NotAModel(f"{CONFIG}: decoder.filename is missing or leaves the folder")
    return name


def _names(decoder: dict[str, Any]) -> Names:
    inputs = _part(decoder, "inputs", f"{CONFIG}: decoder")
    outputs = _part(decoder, "outputs", f"{CONFIG}: decoder")
    names = Names(
        ids=inputs.get("input_ids", "input_ids"),
        mask=inputs.get("attention_mask", "attention_mask"),
        positions=inputs.get("position_ids", "position_ids"),
        past=(
            inputs.get("past_key_names", "past_key_values.%d.key"),
            inputs.get("past_value_names", "past_key_values.%d.value"),
        ),
        logits=outputs.get("logits", "logits"),
        present=(
            outputs.get("present_key_names", "present.%d.key"),
            outputs.get("present_value_names", "present.%d.value"),
        ),
    )
    if not all(isinstance(name, str) and name.count("%d") == 1 for name in (*names.past, *names.present)):
        raise NotAModel(f"{CONFIG}: the names of the cache need one %d each")
    return names


def _providers(decoder: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """What the folder asks for, in its order; the CPU is always last."""
    asked = (decoder.get("session_options") or {}).get("provider_options") or []
    named = [
        (name, options or {}) for each in asked if isinstance(each, dict) for name, options in each.items()
    ]
    known = [(PROVIDERS[name.lower()], options) for name, options in named if name.lower() in PROVIDERS]
    return [*(each for each in known if each[0] != PROVIDERS["cpu"]), (PROVIDERS["cpu"], {})]
