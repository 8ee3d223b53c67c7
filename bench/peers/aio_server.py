# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""What people write who need no more than a call: a server of grpc.aio, with the protocol's messages.

aio_server.py DESCRIPTORS ADDRESS    serves the sum of one byte of every 4 KiB; says ready on stderr"""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

LIMIT = 500_000_000


def messages(descriptors: Path) -> tuple[Any, Any]:
    """The classes of ModelInfer's request and response."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes()).file:
        pool.Add(file)
    return tuple(
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"inference.ModelInfer{which}"))
        for which in ("Request", "Response")
    )


async def main() -> None:
    request_class, response_class = messages(Path(sys.argv[1]))

    async def infer(request: Any, _context: grpc.aio.ServicerContext) -> Any:  # noqa: ANN401 - messages made at run time
        x = np.frombuffer(request.raw_input_contents[0], np.uint8)
        out = np.array([x[::4096].sum()], np.int64)
        response = response_class(model_name=request.model_name, raw_output_contents=[out.tobytes()])
        response.outputs.add(name="out", datatype="INT64", shape=[1])
        return response

    server = grpc.aio.server(
        options=[("grpc.max_receive_message_length", LIMIT), ("grpc.max_send_message_length", LIMIT)]
    )
    handler = grpc.unary_unary_rpc_method_handler(
        infer,
        request_deserializer=request_class.FromString,
        response_serializer=response_class.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": handler}),)
    )
    server.add_insecure_port(sys.argv[2])
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print("ready", file=sys.stderr, flush=True)
    await stop.wait()
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(main())
