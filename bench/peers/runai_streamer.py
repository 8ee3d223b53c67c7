"""The Run:ai Model Streamer reads a whole safetensors file to the host.

With torch this is its SafetensorsStreamer. Without, it is the FileStreamer below that,
which does all of the reading and takes torch only as the wrapper of each buffer that it
hands out: a stand-in for that saves 4.2 GB of torch and costs the peer nothing.
"""

import importlib.machinery
import importlib.metadata
import importlib.util
import json
import sys
import types

from measure import main

VERSION = "Run:ai Model Streamer " + importlib.metadata.version("runai-model-streamer")


class Buffer:
    """What torch.from_numpy gives, as far as FileStreamer uses it."""

    def __init__(self, array: object) -> None:
        self.array = array

    def view(self, *_: int) -> "Buffer":
        return self


def bare_package(name: str, path: list[str]) -> None:
    """Lets modules of a package be imported without its __init__, which wants torch."""
    module = types.ModuleType(name)
    module.__path__ = path
    sys.modules[name] = module


def stand_in() -> None:
    torch = types.ModuleType("torch")
    torch.__spec__ = importlib.machinery.ModuleSpec("torch", None)
    torch.device = lambda name: types.SimpleNamespace(type=str(name))
    torch.from_numpy = Buffer
    sys.modules["torch"] = torch
    package = importlib.util.find_spec("runai_model_streamer").submodule_search_locations
    bare_package("runai_model_streamer", list(package))
    bare_package("runai_model_streamer.file_streamer", [f"{p}/file_streamer" for p in package])


def ranges(path: str) -> tuple[list[int], list[int]]:
    """Where the tensors of a safetensors file lie: offsets and lengths."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    spans = sorted(t["data_offsets"] for t in header.values())
    return [8 + length + begin for begin, _ in spans], [end - begin for begin, end in spans]


def without_torch(path: str) -> object:
    from runai_model_streamer.file_streamer.file_streamer import FileStreamer
    from runai_model_streamer.file_streamer.requests_iterator import FileChunks

    with FileStreamer() as streamer:
        streamer.stream_files([FileChunks(0, path, *ranges(path))])
        return [tensor for _, _, tensor in streamer.get_chunks()]


def with_torch(path: str) -> object:
    from runai_model_streamer import SafetensorsStreamer

    with SafetensorsStreamer() as streamer:
        streamer.stream_file(path)
        return dict(streamer.get_tensors())


# Imports are in no figure.
if importlib.util.find_spec("torch"):
    importlib.import_module("runai_model_streamer")
    import torch

    main(f"{VERSION} SafetensorsStreamer (torch {torch.__version__})", with_torch)
else:
    stand_in()
    importlib.import_module("runai_model_streamer.file_streamer.file_streamer")

    main(f"{VERSION} FileStreamer (without torch)", without_torch)
