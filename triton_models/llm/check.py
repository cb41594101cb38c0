"""`python -m triton_models.llm.check FOLDER`: is this a language model that can be served? Prints its facts as JSON.

The graph is read without its weights; nothing of it is run.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from tokenizers import Tokenizer

from triton_models.llm.chat import BadRequest, ChatTemplate
from triton_models.llm.decoder import TYPES
from triton_models.llm.folder import (
    CONFIG,
    TOKENIZER,
    ModelConfig,
    NotAModel,
    chat_template,
    inside,
    read_config,
)

ELEMENTS = {onnx.TensorProto.FLOAT: ("tensor(float)", 4), onnx.TensorProto.FLOAT16: ("tensor(float16)", 2)}


def facts(folder: Path) -> dict[str, Any]:
    """What the memory that it needs is worked out from. Raises `NotAModel`."""
    present = {path.name for path in folder.iterdir()}
    missing = [name for name in (CONFIG, TOKENIZER) if name not in present]
    if missing or not any(name.endswith(".onnx") for name in present):
        missing += [] if any(name.endswith(".onnx") for name in present) else ["a graph (*.onnx)"]
        raise NotAModel(f"it is no language model for onnxruntime: {', '.join(missing)} missing")
    config = read_config(folder)
    _check_words(folder, config)
    graph, files = _graph(folder, config)
    cache_bytes = _check_graph(graph, config)
    return {
        "layers": config.layers,
        "kv_heads": config.kv_heads,
        "head_size": config.head_size,
        "vocabulary": config.vocabulary,
        "context": config.context,
        "cache_element_bytes": cache_bytes,
        "weights_bytes": sum((folder / name).stat().st_size for name in files),
    }


def _check_words(folder: Path, config: ModelConfig) -> None:
    try:
        ChatTemplate(*chat_template(folder))
    except BadRequest as error:
        raise NotAModel(str(error)) from None
    try:
        tokenizer = Tokenizer.from_str((folder / TOKENIZER).read_text(encoding="utf-8"))
    except Exception as error:  # noqa: BLE001 - the library raises nothing narrower
        raise NotAModel(f"{TOKENIZER} cannot be read: {str(error)[:200]}") from None
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    if size > config.vocabulary:
        raise NotAModel(f"{TOKENIZER} has {size} words, the model knows {config.vocabulary}")


def _graph(folder: Path, config: ModelConfig) -> tuple[Any, list[str]]:
    """The graph, and the files of its weights."""
    path = folder / config.file
    if not path.is_file():
        raise NotAModel(f"{config.file} is missing")
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except (DecodeError, ValueError, OSError):
        raise NotAModel(f"{config.file} is no ONNX file, or only a part of one") from None
    needed: dict[str, int] = {}
    for tensor in graph.initializer:
        told = {each.key: each.value for each in tensor.external_data}
        if not told:
            continue
        name = told.get("location", "")
        if not inside(name):
            raise NotAModel(f"{config.file} takes weights from outside its folder ({name[:80]})")
        end = int(told.get("offset", 0)) + int(told.get("length", 0))
        needed[name] = max(needed.get(name, 0), end)
    for name, size in needed.items():
        data = folder / name
        if not data.is_file():
            raise NotAModel(f"{name} is missing")
        if data.stat().st_size < size:
            raise NotAModel(f"{name} has {data.stat().st_size} bytes of {size}: only a part of it is here")
    return graph, [config.file, *needed]


def _check_graph(graph: Any, config: ModelConfig) -> int:
    """Bytes of one element of the cache. Raises `NotAModel` where graph and configuration differ."""
    names = config.names
    inputs = {each.name: each.type.tensor_type for each in graph.input}
    outputs = {each.name: each.type.tensor_type for each in graph.output}
    cache = names.cache(config.layers)
    for name in (names.ids, names.mask, *(past for past, _ in cache)):
        if name not in inputs:
            raise NotAModel(f"{CONFIG} does not fit the graph: it has no input {name}")
    for name in (names.logits, *(present for _, present in cache)):
        if name not in outputs:
            raise NotAModel(f"{CONFIG} does not fit the graph: it has no output {name}")
    weights = {each.name for each in graph.initializer}
    for name in (
        inputs.keys() - weights - {names.ids, names.mask, names.positions, *(past for past, _ in cache)}
    ):
        raise NotAModel(f"the graph wants {name}, which is no input of a text decoder")
    _check_shape(inputs[cache[0][0]], {1: config.kv_heads, 3: config.head_size}, cache[0][0])
    _check_shape(outputs[names.logits], {2: config.vocabulary}, names.logits)
    if not any(node.op_type == "GroupQueryAttention" for node in graph.node):
        raise NotAModel(
            "the graph has no GroupQueryAttention; build it with onnxruntime-genai's model builder"
        )
    element = inputs[cache[0][0]].elem_type
    if element not in ELEMENTS or ELEMENTS[element][0] not in TYPES:
        raise NotAModel(f"the cache of the graph is neither float32 nor float16 ({cache[0][0]})")
    return ELEMENTS[element][1]


def _check_shape(tensor: Any, expected: dict[int, int], name: str) -> None:
    found = [each.dim_value for each in tensor.shape.dim]
    for at, size in expected.items():
        if len(found) <= at or found[at] not in (0, size):
            raise NotAModel(f"{CONFIG} does not fit the graph: {name} is {found}, expected {size} at {at}")


def main() -> int:
    try:
        sys.stdout.write(json.dumps(facts(Path(sys.argv[1]))) + "\n")
    except NotAModel as error:
        sys.stdout.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
