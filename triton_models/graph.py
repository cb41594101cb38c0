"""Writes the sentence encoder as an ONNX graph of ONNX Runtime's fused BERT operators, from its PyTorch weights.

No deep-learning framework is needed: weights are transposed, query, key and value packed into one matrix, and
mean pooling and L2 normalization put inside, so that one run turns word pieces into finished embeddings.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Mapping

    Weights = Mapping[str, np.ndarray[Any, np.dtype[np.float32]]]

LAYERS, HEADS, WIDTH, MAX_PIECES = 6, 12, 384, 256
EPSILON = 1e-12
FUSED = "com.microsoft"


class GraphWriter:
    """Collects nodes and initializers of one graph."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, value: np.ndarray[Any, Any]) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, *, domain: str = "", **attributes: Any) -> str:
        self.nodes.append(
            helper.make_node(kind, inputs, [output], name=f"{output}/{kind}", domain=domain, **attributes)
        )
        return output


def _embeddings(graph: GraphWriter, weights: Weights) -> str:
    """Word, position and type embeddings with their norm. Only type 0 occurs: it is added to the positions."""
    positions = (
        weights["embeddings.position_embeddings.weight"][:MAX_PIECES]
        + weights["embeddings.token_type_embeddings.weight"][0]
    )
    graph.nodes.append(
        helper.make_node(
            "EmbedLayerNormalization",
            [
                "input_ids",
                "",
                graph.constant("embeddings.word", weights["embeddings.word_embeddings.weight"]),
                graph.constant("embeddings.position", positions),
                "",
                graph.constant("embeddings.gamma", weights["embeddings.LayerNorm.weight"]),
                graph.constant("embeddings.beta", weights["embeddings.LayerNorm.bias"]),
                "attention_mask",
            ],
            ["embedded", "lengths"],
            name="embeddings",
            domain=FUSED,
            epsilon=EPSILON,
        )
    )
    return "embedded"


def _dense(graph: GraphWriter, weights: Weights, source: str, name: str) -> str:
    matrix = graph.constant(f"{name}.weight", weights[f"{name}.weight"].T)
    return graph.node("MatMul", [source, matrix], f"{name}.product")


def _add_and_norm(graph: GraphWriter, weights: Weights, product: str, skip: str, name: str) -> str:
    """The bias of the dense layer before, the residual and the layer norm, in one operator."""
    norm = f"{name}.LayerNorm"
    return graph.node(
        "SkipLayerNormalization",
        [
            product,
            skip,
            graph.constant(f"{norm}.weight", weights[f"{norm}.weight"]),
            graph.constant(f"{norm}.bias", weights[f"{norm}.bias"]),
            graph.constant(f"{name}.dense.bias", weights[f"{name}.dense.bias"]),
        ],
        f"{name}.normed",
        domain=FUSED,
        epsilon=EPSILON,
    )


def _attention(graph: GraphWriter, weights: Weights, source: str, name: str) -> str:
    parts = [f"{name}.self.{part}" for part in ("query", "key", "value")]
    packed = np.concatenate([weights[f"{part}.weight"].T for part in parts], axis=1)
    bias = np.concatenate([weights[f"{part}.bias"] for part in parts])
    inputs = [
        source,
        graph.constant(f"{name}.packed", packed),
        graph.constant(f"{name}.packed_bias", bias),
        "lengths",
    ]
    return graph.node("Attention", inputs, f"{name}.context", domain=FUSED, num_heads=HEADS)


def _layer(graph: GraphWriter, weights: Weights, source: str, index: int) -> str:
    name = f"encoder.layer.{index}"
    context = _attention(graph, weights, source, f"{name}.attention")
    attended = _dense(graph, weights, context, f"{name}.attention.output.dense")
    attended = _add_and_norm(graph, weights, attended, source, f"{name}.attention.output")
    wide = _dense(graph, weights, attended, f"{name}.intermediate.dense")
    bias = graph.constant(f"{name}.intermediate.bias", weights[f"{name}.intermediate.dense.bias"])
    wide = graph.node("BiasGelu", [wide, bias], f"{name}.gelu", domain=FUSED)
    narrow = _dense(graph, weights, wide, f"{name}.output.dense")
    return _add_and_norm(graph, weights, narrow, attended, f"{name}.output")


def _pool(graph: GraphWriter, source: str) -> None:
    """Mean over the pieces that are not padding, then length 1."""
    axis = graph.constant("pool.axis", np.array([1], dtype=np.int64))
    mask = graph.node("Cast", ["attention_mask"], "pool.mask", to=TensorProto.FLOAT)
    row = graph.node("Unsqueeze", [mask, axis], "pool.row")
    total = graph.node("MatMul", [row, source], "pool.total")
    total = graph.node("Squeeze", [total, axis], "pool.sum")
    count = graph.node("ReduceSum", [mask, axis], "pool.count", keepdims=1)
    mean = graph.node("Div", [total, count], "pool.mean")
    graph.node("LpNormalization", [mean], "embedding", axis=-1, p=2)


def encoder_graph(weights: Weights) -> onnx.ModelProto:
    """INT32 `input_ids`, `attention_mask` [batch, pieces] → FP32 `embedding` [batch, 384], each of length 1."""
    graph = GraphWriter()
    hidden = _embeddings(graph, weights)
    for index in range(LAYERS):
        hidden = _layer(graph, weights, hidden, index)
    _pool(graph, hidden)
    shape = ["batch", "pieces"]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "sentence-encoder",
            [
                helper.make_tensor_value_info("input_ids", TensorProto.INT32, shape),
                helper.make_tensor_value_info("attention_mask", TensorProto.INT32, shape),
            ],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", WIDTH])],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(FUSED, 1)],
        producer_name="portico",
    )
    model.ir_version = 9
    return model


def quantize(source: Path, target: Path) -> None:
    """Dynamic INT8: weights by channel, activations by each run's range."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=["MatMul", "Attention", "EmbedLayerNormalization"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        # Shape inference stops at the fused operators, so the type of what follows must be said.
        extra_options={"DefaultTensorType": TensorProto.FLOAT},
    )
