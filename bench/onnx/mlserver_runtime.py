"""A model for MLServer that does what the others do: run in MLServer's interpreter, found by its settings."""

import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput
from tokenizers import Tokenizer


class Embeddings(MLModel):
    """Text to a vector of length 1: tokens, one run, the mean of the tokens."""

    async def load(self) -> bool:
        folder = os.environ["BENCH_MODEL"]
        self.tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
        self.tokenizer.no_padding()
        config = json.loads(Path(folder, "sentence_bert_config.json").read_text())  # noqa: ASYNC240 (once, at the start)
        self.tokenizer.enable_truncation(config["max_seq_length"])
        self.session = onnxruntime.InferenceSession(f"{folder}/model.onnx", providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        texts = StringCodec.decode_input(payload.inputs[0])
        ids = np.array([self.tokenizer.encode(texts[0]).ids], np.int64)
        mask = np.ones_like(ids)
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (tokens,) = self.session.run(["last_hidden_state"], feeds)
        vector = tokens.mean(axis=1)
        vector /= np.linalg.norm(vector, axis=1, keepdims=True)
        output = ResponseOutput(name="embedding", datatype="FP32", shape=list(vector.shape), data=vector[0].tolist())
        return InferenceResponse(model_name=self.name, outputs=[output])
