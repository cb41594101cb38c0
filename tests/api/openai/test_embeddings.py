"""Embeddings and the list of models, by the OpenAI client."""

from __future__ import annotations

import base64
import json
import math
import struct
from typing import Any

import openai
import pytest

from tests.api.openai.edge import Door
from tests.api.openai.test_chat import ASK

pytestmark = pytest.mark.usefixtures("nothing_leaves")


@pytest.mark.parametrize(
    "given",
    [
        "",
        [],
        [""],
        [1, 2, 3],
        [[1, 2], [3]],
        5,
        None,
        {"a": 1},
        ["x"] * 2049,
        "x" * 100_001,
        [True],
        "\ud800",
    ],
)
def test_what_is_no_text_is_not_embedded(door: Door, given: Any) -> None:
    with door.edge.person() as owner:
        answer = owner.post(
            "/v1/embeddings",
            content=json.dumps({"model": "text_encoder", "input": given}),
            headers={"content-type": "application/json"},
        )
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


def test_texts_become_vectors_in_either_writing(door: Door, client: openai.OpenAI) -> None:
    texts = ["the cat sat on the mat", "a cat on a mat", "quarterly tax report"]
    answer = client.embeddings.create(model="text_encoder", input=texts)  # base64 on the wire
    assert [one.index for one in answer.data] == [0, 1, 2]
    vectors = [one.embedding for one in answer.data]
    assert [len(vector) for vector in vectors] == [384] * 3
    assert all(math.isclose(math.hypot(*vector), 1, abs_tol=1e-3) for vector in vectors)
    assert _cosine(vectors[0], vectors[1]) > _cosine(vectors[0], vectors[2]) + 0.3
    assert answer.usage.prompt_tokens > 0
    single = client.embeddings.create(model="text_encoder", input=texts[0], encoding_format="float")
    assert _cosine(single.data[0].embedding, vectors[0]) > 0.999
    with door.edge.person() as owner:
        raw = owner.post(
            "/v1/embeddings", json={"model": "auto", "input": texts[0], "encoding_format": "base64"}
        ).json()
    unpacked = struct.unpack("<384f", base64.b64decode(raw["data"][0]["embedding"]))
    assert _cosine(unpacked, vectors[0]) > 0.999
    assert door.answers()[-1][0] == "text_encoder"


def test_more_texts_than_a_batch_keep_their_order(client: openai.OpenAI) -> None:
    texts = [f"text number {number}" for number in range(130)]
    together = client.embeddings.create(model="text_encoder", input=texts).data
    alone = client.embeddings.create(model="text_encoder", input=texts[129]).data[0].embedding
    assert len(together) == 130
    assert _cosine(together[129].embedding, alone) > 0.999


def test_other_dimensions_are_refused(client: openai.OpenAI) -> None:
    assert client.embeddings.create(model="text_encoder", input="x", dimensions=384)
    with pytest.raises(openai.BadRequestError, match="384"):
        client.embeddings.create(model="text_encoder", input="x", dimensions=100)


def test_models_are_listed_as_the_client_reads_them(door: Door, client: openai.OpenAI) -> None:
    client.chat.completions.create(model="main", messages=ASK)
    listed = {model.id: model for model in client.models.list()}
    assert list(listed) == ["auto", "far", "main", "backup", "narrow", "text_encoder"]
    assert (listed["main"].model_extra or {})["state"] == "ok"
    assert (listed["far"].model_extra or {})["locality"] == "cloud"
    assert client.models.retrieve("main").id == "main"
    with door.edge.person() as owner:  # what our own pages and commands read is still there
        assert [one["name"] for one in owner.get("/v1/models/routes").json()["routes"]] == [
            "far", "main", "backup", "narrow",
        ]  # fmt: skip


def _cosine(one: Any, other: Any) -> float:
    return float(sum(a * b for a, b in zip(one, other, strict=True)))
