# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""The model that MLServer serves: one byte of every 4 KiB."""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Sum(MLModel):
    async def load(self) -> bool:
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        x = NumpyCodec.decode_input(payload.inputs[0])
        out = np.array([int(x.ravel()[::4096].sum())], np.int64)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("out", out)])
