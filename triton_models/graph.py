"""Writes the sentence encoder as an ONNX graph of the operators that ONNX Runtime runs fastest on a CPU.

It needs the PyTorch weights, but no PyTorch: weights are transposed, heads packed into one attention operator, and
mean pooling and L2 normalization put inside, so that one run turns word pieces into finished embeddings. Biases
are added by the products, and the rows of a run lie in one matrix. ONNX Runtime's own BiasGelu and
SkipLayerNormalization are not used: on a CPU they take 1.5 and 6 times as long as the plain operators.

INT8 quantizes weights by output channel. Activations have fixed scales, found once by calibrate.py, where their
reach hardly changes (after a layer norm and after attention), and a scale for each *piece* where it does (after
GELU). With one range for a whole run, as ONNX Runtime's own dynamic quantization has it, an embedding would
depend on the texts of others in the same batch (cosine 0.99 to itself); so it does not, it is closer to FP32 (mean
0.998 against 0.993), and as fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Array = np.ndarray[Any, Any]
    Weights = Mapping[str, np.ndarray[Any, np.dtype[np.float32]]]

LAYERS, HEADS, WIDTH, MAX_PIECES = 6, 12, 384, 256
EPSILON = 1e-12
FUSED = "com.microsoft"
LEVELS = 127  # of an int8, each way
MIDDLE = 128  # what stands for zero in the unsigned activations
SMOOTHING = 0.8  # of a channel's reach that the activations give up to the weights; 0.6 does as well
MARGIN = 1.05  # beyond the reach that calibration has seen
GELU_DEPTH = 0.17  # GELU goes no further below zero
FLAT = np.array([-1, WIDTH])


class Layer(NamedTuple):
    """A dense layer as PyTorch has it: `weight` [outputs, inputs], `bias` [outputs]."""

    name: str
    weight: Array
    bias: Array


class GraphWriter:
    """Collects nodes and initializers of one graph; multiplies in FP32."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: Array) -> str:
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def number(self, value: Array) -> str:
        # `numpy.ascontiguousarray` makes a row of a single number, and scales have to be single numbers.
        name = f"number.{value.dtype}.{value.tolist()}"
        self.initializers.setdefault(name, numpy_helper.from_array(value, name))
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"{output}/{kind}", **attributes))
        return output

    def words(self, table: Array) -> str:
        """The rows of the word table for `input_ids`."""
        return self.node("Gather", [self.constant("words", table), "input_ids"], "word_rows")

    def dense(self, source: str, layers: Sequence[Layer]) -> list[str]:
        """What each of the layers makes of the rows of `source`."""
        return [
            self.node("Gemm", [source, self._transposed(layer), self._bias(layer)], f"{layer.name}.product")
            for layer in layers
        ]

    def _transposed(self, layer: Layer) -> str:
        return self.constant(f"{layer.name}.weight", layer.weight.T)

    def _bias(self, layer: Layer) -> str:
        return self.constant(f"{layer.name}.bias", layer.bias)


class Int8Writer(GraphWriter):
    """Multiplies in INT8: each row of a table and column of a weight has its own scale.

    `reach` holds the largest size of each channel of the tensors with a fixed scale (see calibrate.py).
    """

    def __init__(self, reach: Mapping[str, Array]) -> None:
        super().__init__()
        self._reach = reach

    def words(self, table: Array) -> str:
        integers, scales = _by_row(table)
        rows = self.node("Gather", [self.constant("words", integers), "input_ids"], "word_integers")
        rows = self.node("Cast", [rows], "word_floats", to=TensorProto.FLOAT)
        scale = self.node(
            "Gather", [self.constant("word_scales", scales[:, None]), "input_ids"], "word_row_scales"
        )
        return self.node("Mul", [rows, scale], "word_rows")

    def dense(self, source: str, layers: Sequence[Layer]) -> list[str]:
        if source in self._reach:
            return self._with_fixed_scale(source, layers)
        return self._with_scale_by_row(source, layers)

    def _with_fixed_scale(self, source: str, layers: Sequence[Layer]) -> list[str]:
        reach = self._reach[source]
        if source in _normed_tensors():
            source, share = self._smoothed(source, reach, layers)
            layers = [layer._replace(weight=layer.weight * share) for layer in layers]
            reach = reach / share
        scale = self.number(np.array(reach.max() * MARGIN / LEVELS, np.float32))
        integers = self._rounded(source, scale)
        return [self._product(integers, scale, layer, self._bias(layer)) for layer in layers]

    def _smoothed(self, source: str, reach: Array, layers: Sequence[Layer]) -> tuple[str, Array]:
        """A few channels reach ten times as far as the rest: each shares that with its weights."""
        largest = np.max([np.abs(layer.weight).max(axis=0) for layer in layers], axis=0)
        share = reach**SMOOTHING / largest ** (1 - SMOOTHING)
        inverse = self.constant(f"{source}.by", (1 / share).astype(np.float32))
        return self.node("Mul", [source, inverse], f"{source}.smoothed"), share

    def _with_scale_by_row(self, source: str, layers: Sequence[Layer]) -> list[str]:
        """Only behind GELU, whose largest value says how far a row reaches."""
        highest = self.node("ReduceMax", [source, self.number(np.array([-1]))], f"{source}.highest")
        depth = self.number(np.array([GELU_DEPTH], np.float32))
        reach = self.node("Max", [highest, depth], f"{source}.reach")
        inverse = self.node("Reciprocal", [reach], f"{source}.inverse")
        shares = self.node("Mul", [source, inverse], f"{source}.shares")
        scale = self.number(np.array(1 / LEVELS, np.float32))
        integers = self._rounded(shares, scale)
        outputs = []
        for layer in layers:
            unscaled = self._product(integers, scale, layer, "")
            scaled = self.node("Mul", [unscaled, reach], f"{layer.name}.scaled")
            outputs.append(self.node("Add", [scaled, self._bias(layer)], f"{layer.name}.biased"))
        return outputs

    def _rounded(self, source: str, scale: str) -> str:
        """UINT8 around 128: of the kernels for INT8, those for unsigned activations are the fastest."""
        middle = self.number(np.array(MIDDLE, np.uint8))
        return self.node("QuantizeLinear", [source, scale, middle], f"{source}.integers")

    def _product(self, integers: str, scale: str, layer: Layer, bias: str) -> str:
        weight, scales = _by_row(layer.weight)
        inputs = [
            integers,
            self.constant(f"{layer.name}.weight", weight.T),
            scale,
            self.constant(f"{layer.name}.scales", scales),
            self.number(np.array(MIDDLE, np.uint8)),
            "",
            bias,
        ]
        return self.node("MatMulIntegerToFloat", inputs, f"{layer.name}.product", domain=FUSED)


def _by_row(matrix: Array) -> tuple[Array, Array]:
    """INT8 rows and their scales. A row of zeros keeps scale 1."""
    scales = np.abs(matrix).max(axis=1) / LEVELS
    scales[scales == 0] = 1
    return np.rint(matrix / scales[:, None]).astype(np.int8), scales.astype(np.float32)


def _norm(graph: GraphWriter, weights: Weights, source: str, name: str, output: str) -> str:
    inputs = [
        source,
        *(graph.constant(f"{name}.{part}", weights[f"{name}.{part}"]) for part in ("weight", "bias")),
    ]
    return graph.node("LayerNormalization", inputs, output, epsilon=EPSILON, axis=-1)


def _embeddings(graph: GraphWriter, weights: Weights) -> str:
    """Words and positions with their norm, a row each. Only token type 0 occurs: it is added to the positions."""
    positions = (
        weights["embeddings.position_embeddings.weight"][:MAX_PIECES]
        + weights["embeddings.token_type_embeddings.weight"][0]
    )
    words = graph.words(weights["embeddings.word_embeddings.weight"])
    length = graph.node("Shape", ["input_ids"], "length", start=1, end=2)
    rows = [graph.constant("positions", positions), graph.number(np.array([0])), length]
    position = graph.node("Slice", rows, "position_rows")
    total = graph.node("Add", [words, position], "embeddings")
    graph.node("Shape", [total], "shape")
    rows_of_all = graph.node("Reshape", [total, graph.number(FLAT)], "embedding_rows")
    return _norm(graph, weights, rows_of_all, "embeddings.LayerNorm", "embedded")


def _attention(graph: GraphWriter, weights: Weights, source: str, name: str) -> str:
    layers = [_dense_layer(weights, f"{name}.self.{part}") for part in ("query", "key", "value")]
    products = [
        graph.node("Reshape", [product, "shape"], f"{product}.by_text")
        for product in graph.dense(source, layers)
    ]
    context = graph.node(
        "MultiHeadAttention", [*products, "", "lengths"], f"{name}.by_text", domain=FUSED, num_heads=HEADS
    )
    return graph.node("Reshape", [context, graph.number(FLAT)], f"{name}.context")


def _dense_layer(weights: Weights, name: str) -> Layer:
    return Layer(name, weights[f"{name}.weight"], weights[f"{name}.bias"])


def _layer(graph: GraphWriter, weights: Weights, source: str, index: int) -> str:
    name = f"encoder.layer.{index}"

    def dense(source: str, part: str) -> str:
        (product,) = graph.dense(source, [_dense_layer(weights, f"{name}.{part}.dense")])
        return product

    def add_and_norm(product: str, skip: str, part: str) -> str:
        total = graph.node("Add", [product, skip], f"{name}.{part}.sum")
        return _norm(graph, weights, total, f"{name}.{part}.LayerNorm", f"{name}.{part}.normed")

    context = _attention(graph, weights, source, f"{name}.attention")
    attended = add_and_norm(dense(context, "attention.output"), source, "attention.output")
    wide = graph.node("Gelu", [dense(attended, "intermediate")], f"{name}.gelu", domain=FUSED)
    return add_and_norm(dense(wide, "output"), attended, "output")


def _pool(graph: GraphWriter, source: str) -> None:
    """Mean over the pieces that are not padding, then length 1."""
    axis = graph.number(np.array([1]))
    by_text = graph.node("Reshape", [source, "shape"], "hidden")
    mask = graph.node("Cast", ["attention_mask"], "mask", to=TensorProto.FLOAT)
    row = graph.node("Unsqueeze", [mask, axis], "mask_row")
    total = graph.node("MatMul", [row, by_text], "pooled_row")
    total = graph.node("Squeeze", [total, axis], "pooled")
    count = graph.node("ReduceSum", [mask, axis], "pieces_count", keepdims=1)
    mean = graph.node("Div", [total, count], "mean")
    graph.node("LpNormalization", [mean], "embedding", axis=-1, p=2)


def _normed_tensors() -> list[str]:
    """Names of the tensors after each layer norm that a product reads."""
    names = [f"encoder.layer.{index}.attention.output.normed" for index in range(LAYERS)]
    return ["embedded", *names, *(f"encoder.layer.{index}.output.normed" for index in range(LAYERS - 1))]


def tensors_with_fixed_scale() -> list[str]:
    """Those, and the tensors after each attention."""
    return [*_normed_tensors(), *(f"encoder.layer.{index}.attention.context" for index in range(LAYERS))]


def encoder_graph(weights: Weights, graph: GraphWriter) -> onnx.ModelProto:
    """INT32 `input_ids`, `attention_mask` [batch, pieces] → FP32 `embedding` [batch, 384], each of length 1.

    Padding stands at the end of a row.
    """
    graph.node("ReduceSum", ["attention_mask", graph.number(np.array([1]))], "lengths", keepdims=0)
    hidden = _embeddings(graph, weights)
    for index in range(LAYERS):
        hidden = _layer(graph, weights, hidden, index)
    _pool(graph, hidden)
    shape = ["batch", "pieces"]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT32, shape)
        for name in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", WIDTH])
    return helper.make_model(
        helper.make_graph(graph.nodes, "encoder", inputs, [output], list(graph.initializers.values())),
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid(FUSED, 1)],
        producer_name="portico",
        ir_version=10,
    )
