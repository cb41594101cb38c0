"""Measures how far each channel of the encoder's activations reaches, so that INT8 can give each its share.

A few channels are ten times larger than the rest; with one scale for all they would leave the others few of the
255 levels. The graph divides channels by a part of these ranges before quantizing and multiplies the weights by it
("SmoothQuant"): cosine to FP32 at worst 0.99 instead of 0.97. The ranges also fix the scales, so the sentences are
as unlike as texts can be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from onnx import ModelProto, TensorProto, helper
from tokenizers import Tokenizer

from triton_models.graph import WIDTH, tensors_with_fixed_scale

if TYPE_CHECKING:
    from pathlib import Path

    Ranges = dict[str, np.ndarray[Any, np.dtype[np.float32]]]

SENTENCES = (
    "ok",
    "hello my friend",
    "cheers, that is kind of you",
    "the train to the coast leaves at nine",
    "how do i reset my password?",
    "she planted two apple trees behind the house",
    "write the number 42, please!",
    "12 * 7 = 84",
    "open the window (it is hot)",
    "see https://example.com/page?id=3 for details",
    "stop",
    "the committee postponed its decision on the budget until the next quarter, as nobody knew the figures",
    "把牛奶加到购物清单",
    "现在下雨了",
    "我们明天下午三点开会,请不要迟到。",
    "谁知道答案?",
    "",
    "?",
    "😀😀",
    "of",
    "1 2 3 4 5 6 7 8 9 0",
    "a b c d e f g",
    "yes yes yes yes yes yes",
    "the the the the the the the the the the the the",
    "-----",
    "............",
    "import os\nfor name in sorted(os.listdir('.')): print(name, end='\\n')",
    '<p class="note">Read <b>this</b> first.</p>',
    "$1,299.99 + 7% tax = ?",
    "asdf qwerty zxcvb lkjh",
    "URGENT!!! CALL ME NOW!!!",
    "her majesty queen victoria of the united kingdom of great britain and ireland",
    "i want to cancel my order and get my money back, because the parcel never came although it was promised",
    "The mitochondrion is the powerhouse of the cell; glucose and oxygen go in, ATP comes out.",
    "vienna oslo lima rome kyoto cairo quito",
    "when does the bank open",
    "银行几点开门",
    "帮我订一张明天去上海的高铁票",
    "Привет, как дела?",
    "مرحبا كيف حالك",
    "こんにちは、元気ですか",
    "안녕하세요",
    "Größe, naïve, façade, mañana",
)


def activation_ranges(model: ModelProto, tokenizer: Path) -> Ranges:
    """The largest size of each channel [384] of each tensor with a fixed scale, as the FP32 graph computes them."""
    names = tensors_with_fixed_scale()
    watched = ModelProto()
    watched.CopyFrom(model)
    shape = ["rows", WIDTH]
    watched.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in names
    )
    session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    reader = Tokenizer.from_file(str(tokenizer))
    reader.no_padding()
    ranges: Ranges = {name: np.zeros(WIDTH, np.float32) for name in names}
    for sentence in SENTENCES:
        pieces = np.array([reader.encode(sentence).ids], np.int32)
        values = session.run(names, {"input_ids": pieces, "attention_mask": np.ones_like(pieces)})
        for name, value in zip(names, values, strict=True):
            ranges[name] = np.maximum(ranges[name], np.abs(value).max(axis=0))
    return ranges
