"""Serve with LitServe, as in https://lightning.ai/docs/litserve/features/batching.

LitServe does not batch by default: the size and the wait of a batch are those of its examples. It reads the annotation
of `request`, which must therefore not be a string.
"""

import sys
from collections.abc import Sequence
from typing import Any

import litserve
from fastapi import Request

from bench.peers import model

_BATCH = 8
_WAIT_S = 0.05


class Tagger(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.model = model.load()

    def decode_request(self, request: Request) -> Any:
        return self.model.prepare(request["image"].file.read())

    def batch(self, inputs: Sequence[Any]) -> Sequence[Any]:
        return inputs

    def predict(self, inputs: Sequence[Any]) -> list[list[str]]:
        return self.model.tag(inputs)

    def unbatch(self, output: list[list[str]]) -> list[list[str]]:
        return output

    def encode_response(self, output: list[str]) -> dict[str, list[str]]:
        return {"tags": output}


if __name__ == "__main__":
    tagger = Tagger(max_batch_size=model.batch_size(_BATCH), batch_timeout=_WAIT_S)
    server = litserve.LitServer(tagger, accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
