"""A two-layer random decoder as a folder for onnxruntime-genai, written with the `onnx` package.

Runs in the models' environment: `python -m tests.triton_models.tiny_decoder FOLDER [--context N] [--endless]`.
Every byte is a word of its tokenizer, so that it reads any text. It writes nonsense, with `--endless` for ever.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

LAYERS, HEADS, KV_HEADS, HEAD_SIZE = 2, 4, 2, 16
EPSILON = 1e-6


@dataclass(frozen=True)
class Size:
    """The shape of a decoder."""

    layers: int
    heads: int
    kv_heads: int
    head_size: int

    @property
    def hidden(self) -> int:
        return self.heads * self.head_size


TINY = Size(LAYERS, HEADS, KV_HEADS, HEAD_SIZE)
SIZES = {"tiny": TINY, "medium": Size(10, 16, 4, 64)}
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = """\
{%- if tools %}<|im_start|>system
# Tools
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def write(
    folder: Path, *, context: int = 512, endless: bool = False, size: Size = TINY, positions: bool = False
) -> None:
    folder.mkdir(parents=True)
    tokenizer = _tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    ends = [tokenizer.token_to_id(word) for word in SPECIAL]
    never = ends if endless else []
    _Graph(size, tokenizer.get_vocab_size(), context, never, positions=positions).save(folder)
    _write(folder / "genai_config.json", _config(tokenizer, context, size))
    _write(folder / "tokenizer_config.json", {"eos_token": "<|im_end|>", "chat_template": TEMPLATE})


def _tokenizer() -> Tokenizer:
    words = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word in SPECIAL])
    return tokenizer


def _config(tokenizer: Tokenizer, context: int, size: Size) -> dict[str, Any]:
    end, pad = tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<|endoftext|>")
    decoder = {
        "filename": "model.onnx", "head_size": size.head_size, "hidden_size": size.hidden,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.kv_heads, "num_hidden_layers": size.layers,
        "session_options": {"provider_options": []},
        "inputs": {
            "input_ids": "input_ids", "attention_mask": "attention_mask",
            "past_key_names": "past_key_values.%d.key", "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {
            "logits": "logits", "present_key_names": "present.%d.key", "present_value_names": "present.%d.value",
        },
    }  # fmt: skip
    model = {
        "type": "qwen2", "eos_token_id": [end, pad], "pad_token_id": pad, "bos_token_id": pad,
        "context_length": context, "vocab_size": tokenizer.get_vocab_size(), "decoder": decoder,
    }  # fmt: skip
    search = {"max_length": context, "past_present_share_buffer": True, "do_sample": False}
    return {"model": model, "search": search}


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1))


class _Graph:
    """As onnxruntime-genai's builder shapes them: grouped attention over a cache that past and present share."""

    def __init__(self, size: Size, words: int, context: int, never: list[int], *, positions: bool) -> None:
        self._size = size
        self._positions = positions
        self._words = words
        self._chance = np.random.default_rng(7)
        self._nodes: list[Any] = []
        self._weights: dict[str, np.ndarray[Any, Any]] = {}
        self._rotary(context)
        self._lengths()
        states = self._op("Gather", ["embedding", "input_ids"])
        self._random("embedding", words, self._size.hidden, scale=1.0)
        for layer in range(self._size.layers):
            states = self._layer(layer, states)
        self._random("head", self._size.hidden, words, scale=0.3)
        self._weights["bias"] = np.zeros(words, np.float32)
        self._weights["bias"][never] = -1e4
        logits = self._op("MatMul", [self._norm("norm", states), "head"])
        self._op("Add", [logits, "bias"], "logits")

    def save(self, folder: Path) -> None:
        ids, mask = ["batch", "sequence"], ["batch", "total"]
        inputs = [
            _value("input_ids", ids, TensorProto.INT64),
            _value("attention_mask", mask, TensorProto.INT64),
        ]
        if self._positions:
            inputs.append(_value("position_ids", ids, TensorProto.INT64))
        parts = [f"{layer}.{part}" for layer in range(self._size.layers) for part in ("key", "value")]
        past = [
            _value(f"past_key_values.{part}", ["batch", self._size.kv_heads, "past", self._size.head_size])
            for part in parts
        ]
        present = [
            _value(f"present.{part}", ["batch", self._size.kv_heads, "total", self._size.head_size])
            for part in parts
        ]
        logits = _value("logits", ["batch", "sequence", self._words])
        weights = [numpy_helper.from_array(array, name) for name, array in self._weights.items()]
        graph = helper.make_graph(self._nodes, "tiny", [*inputs, *past], [logits, *present], weights)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="model.onnx.data")

    def _rotary(self, context: int) -> None:
        half = self._size.head_size // 2
        angles = np.outer(np.arange(context), 10_000.0 ** (-np.arange(half) / half)).astype(np.float32)
        self._weights |= {"cos": np.cos(angles), "sin": np.sin(angles)}

    def _lengths(self) -> None:
        """How long each row is, from the mask: `seqlens` is one less."""
        self._weights |= {"axis": np.array([1]), "one": np.array([1]), "first": np.array(1)}
        length = self._op("ReduceSum", ["attention_mask", "axis"], keepdims=1)
        self._op("Cast", [self._op("Sub", [length, "one"])], "seqlens", to=TensorProto.INT32)
        total = self._op("Gather", [self._op("Shape", ["attention_mask"]), "first"], axis=0)
        self._op("Cast", [total], "total_length", to=TensorProto.INT32)

    def _layer(self, layer: int, states: str) -> str:
        normed = self._norm(f"norm1.{layer}", states)
        query, key, value = (
            self._dense(f"{name}.{layer}", normed, size)
            for name, size in (
                ("q", self._size.hidden),
                ("k", self._size.kv_heads * self._size.head_size),
                ("v", self._size.kv_heads * self._size.head_size),
            )
        )
        past = [f"past_key_values.{layer}.{part}" for part in ("key", "value")]
        if self._positions:
            query, key = (
                self._op("RotaryEmbedding", [rows, "position_ids", "cos", "sin"], domain="com.microsoft")
                for rows in (query, key)
            )
        self._nodes.append(
            helper.make_node(
                "GroupQueryAttention", [query, key, value, *past, "seqlens", "total_length", "cos", "sin"],
                [f"attended.{layer}", f"present.{layer}.key", f"present.{layer}.value"], domain="com.microsoft",
                num_heads=self._size.heads, kv_num_heads=self._size.kv_heads, do_rotary=int(not self._positions),
            )
        )  # fmt: skip
        states = self._op("Add", [states, self._dense(f"o.{layer}", f"attended.{layer}", self._size.hidden)])
        wide = self._op(
            "Relu", [self._dense(f"up.{layer}", self._norm(f"norm2.{layer}", states), 2 * self._size.hidden)]
        )
        return self._op(
            "Add", [states, self._dense(f"down.{layer}", wide, self._size.hidden, of=2 * self._size.hidden)]
        )

    def _dense(self, name: str, states: str, size: int, *, of: int = 0) -> str:
        of = of or self._size.hidden
        self._random(name, of, size, scale=of**-0.5)
        return self._op("MatMul", [states, name])

    def _norm(self, name: str, states: str) -> str:
        self._weights[name] = np.ones(self._size.hidden, np.float32)
        return self._op("SimplifiedLayerNormalization", [states, name], axis=-1, epsilon=EPSILON)

    def _random(self, name: str, *shape: int, scale: float) -> None:
        self._weights[name] = (self._chance.standard_normal(shape) * scale).astype(np.float32)

    def _op(self, kind: str, inputs: list[str], output: str = "", **options: Any) -> str:
        output = output or f"{kind}.{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [output], **options))
        return output


def _value(name: str, shape: list[Any], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--endless", action="store_true")
    parser.add_argument("--positions", action="store_true", help="positions are an input of the graph")
    parser.add_argument("--size", choices=SIZES, default="tiny")
    options = parser.parse_args()
    write(
        options.folder,
        context=options.context,
        endless=options.endless,
        size=SIZES[options.size],
        positions=options.positions,
    )


if __name__ == "__main__":
    main()
