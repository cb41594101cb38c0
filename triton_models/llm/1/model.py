"""A language model that streams: `REQUEST` (JSON) in, `TEXT` piece by piece, and at the end `END` (JSON).

`REQUEST`: `{"messages", "tools", "max_tokens", "temperature", "top_p", "seed", "stop"}`, OpenAI's shapes.
An empty `TEXT` every two seconds says that the model lives. `END`, with the last response alone:
`{"finish": "stop" | "length" | "cancelled", "input_tokens", "reused_tokens", "output_tokens", "first_token_s",
"tokens_per_s", "messages_left_out"}`, or `{"refused": "bad_request" | "busy" | "broken", "why"}`, because a stream
carries no status of an error.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from tokenizers import Tokenizer

from triton_models.llm.chat import BadRequest, ChatTemplate, Prompts
from triton_models.llm.decoder import Decoder
from triton_models.llm.folder import TOKENIZER, chat_template
from triton_models.llm.manifest import verify
from triton_models.llm.request import LlmRequest, read_request
from triton_models.llm.sampler import Sampler
from triton_models.llm.scheduler import Ended, Job, QueueFull, Scheduler
from triton_models.llm.text import GrowingText
from triton_models.plumbing import hide_shared_memory


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        hide_shared_memory()
        model = Path(args["model_repository"])
        told = {
            name: int(each["string_value"])
            for name, each in json.loads(args["model_config"])["parameters"].items()
        }
        weights = verify(model)
        self._tokenizer = Tokenizer.from_file(str(weights / TOKENIZER))
        template = ChatTemplate(*chat_template(weights))
        threads = told["threads"] or len(os.sched_getaffinity(0))
        self._decoder = Decoder(weights, context=told["context"], rows=told["concurrency"], threads=threads)
        added = self._tokenizer.get_added_tokens_decoder().values()
        special = [word.content for word in added if word.special]
        self._prompts = Prompts(template, self._tokenizer, context=self._decoder.context, special=special)
        self._scheduler = Scheduler(self._decoder)

    def execute(self, requests: list[Any]) -> None:
        for request in requests:
            reader = Reader(request)
            try:
                self._scheduler.submit(self._job(request, reader))
            except BadRequest as error:
                reader.refuse("bad_request", str(error))
            except QueueFull:
                reader.refuse("busy", "the model takes no more answers now")
            except Ended:
                reader.fail("the model has ended")

    def finalize(self) -> None:
        self._scheduler.close()

    def _job(self, request: Any, reader: Reader) -> Job:
        raw = pb_utils.get_input_tensor_by_name(request, "REQUEST").as_numpy().reshape(-1)[0]
        asked: LlmRequest = read_request(raw, self._decoder.config.search)
        prompt, left_out = self._prompts.tokens(asked.messages, asked.tools)
        room = self._decoder.context - len(prompt)
        return Job(
            prompt=prompt,
            limit=min(asked.max_tokens or room, room),
            sampler=Sampler(asked.choice),
            text=GrowingText(self._tokenizer, asked.stops),
            reader=reader,
            left_out=left_out,
        )


class Reader:
    """The client's end of the stream."""

    def __init__(self, request: Any) -> None:
        self._sender = request.get_response_sender()
        self._sending = threading.Lock()
        self._ended = False

    def cancelled(self) -> bool:
        return bool(self._sender.is_cancelled())

    def pulse(self) -> None:
        self.show("")

    def show(self, text: str) -> None:
        with self._sending:
            if not self._ended:
                self._sender.send(pb_utils.InferenceResponse([_text("TEXT", text)]))

    def end(self, told: dict[str, Any]) -> None:
        last = pb_utils.InferenceResponse([_text("END", json.dumps(told))])
        with self._sending:
            self._ended = True
            self._sender.send(last, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def fail(self, why: str) -> None:
        self.refuse("broken", why)

    def refuse(self, code: str, why: str) -> None:
        self.end({"refused": code, "why": why})


def _text(name: str, value: str) -> Any:
    return pb_utils.Tensor(name, np.array([value.encode()], dtype=np.object_))
