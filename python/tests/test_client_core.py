# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""What the clients do when a server fails, without one: the steps of a call are answered here."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

grpc = pytest.importorskip("grpc")

from modelfs import client, client_async, client_core, client_deadline
from modelfs.client_call import THRESHOLD, Call, References
from modelfs.client_core import Connect, Core, Pause, Read, Send, Step
from modelfs.client_errors import InferenceError, InferenceTimeout, NoServer
from modelfs.client_messages import UNARY, ModelInferResponse, parameters_of
from modelfs.client_result import Result
from modelfs.client_wire import Response
from modelfs.mountpoint import Mount

ANSWER = Response(ModelInferResponse(model_name="m"), [])
ANSWER.message.outputs.add(name="o", datatype="UINT8", shape=[1])
ANSWER.raw.append(b"\1")
Steps = Generator[Any, Any, Any]


class Failure(grpc.RpcError):
    def __init__(self, code: str, details: str = "broken") -> None:
        self.code, self.details = lambda: grpc.StatusCode[code], lambda: details
        self.trailing_metadata = lambda: ()


class Stream:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Channel:
    """Its stubs are the names of what they call."""

    def __init__(self, address: str) -> None:
        self.server = address.removeprefix("unix:")
        self.streams: list[Stream] = []

    def unary_unary(self, path: str, **_: Any) -> str:  # noqa: ANN401
        return f"{path.rpartition('/')[2]} {self.server}"

    def stream_stream(self, *_: Any, **__: Any) -> Any:  # noqa: ANN401
        return lambda *_, **__: self.streams.append(Stream()) or self.streams[-1]


def core_of(timeout: float | None = None, address: str | None = "unix:a") -> Core:
    api = SimpleNamespace(insecure_channel=lambda address, _: Channel(address))
    mount = None if address else object.__new__(Mount)
    return Core(api, "m", address, mount, None, None, timeout, "never")


def call_of(core: Core, **options: Any) -> Any:  # noqa: ANN401
    return core.call({"x": np.zeros(1, np.uint8)}, None, None, None, None, None, "", **options)


def index(state: str) -> Any:  # noqa: ANN401 - a message
    message = UNARY["RepositoryIndex"][1]()
    message.models.add(name="m", state=state, reason="told so")
    return message


def name_of(step: Step) -> str:
    match step:
        case Send():
            return step.stub
        case Connect():
            return "connected?"
        case Pause():
            return f"pause {step.seconds}"
        case Read():
            return "read"
    raise AssertionError(step)


def play(steps: Steps, answers: list[Any], ended: bool = True) -> tuple[list[str], Any]:
    """The names of the steps, and what comes of them: results, an error, or what is returned."""
    names, given = [], iter(answers)
    try:
        step = next(steps)
        while True:
            if isinstance(step, Result):
                names.append("result")
                step = next(steps)
                continue
            names.append(name_of(step))
            if (answer := next(given, StopIteration)) is StopIteration:
                assert not ended, f"{names[-1]} comes after all that was expected"
                return names, None
            step = steps.throw(answer) if isinstance(answer, BaseException) else steps.send(answer)
    except StopIteration as end:
        outcome = end.value
    except InferenceError as error:
        outcome = error
    assert next(given, None) is None, f"ended after {names}"
    return names, outcome


def infer(core: Core, *answers: Any) -> tuple[list[str], Any]:  # noqa: ANN401
    return play(core.infer(call_of(core)), [*answers])


GONE, READY, LOADING, WRONG = Failure("UNAVAILABLE"), index("READY"), index("LOADING"), index("UNAVAILABLE")
INFER, LOOK, CONNECTED = "ModelInfer a", "RepositoryIndex a", "connected?"


def test_a_call_is_made_again_when_the_server_is_back() -> None:
    names, result = infer(core_of(), GONE, READY, True, ANSWER)
    assert names == [INFER, LOOK, CONNECTED, INFER] and result["o"][0] == 1
    names, _ = infer(core_of(), GONE, GONE, None, LOADING, None, READY, False, None, READY, True, ANSWER)
    waited = [LOOK, "pause 0.05", LOOK, "pause 0.1", LOOK, CONNECTED, "pause 0.2"]
    assert names == [INFER, *waited, LOOK, CONNECTED, INFER]
    # A server without that call says itself what it has.
    names, _ = infer(core_of(), GONE, Failure("UNIMPLEMENTED"), True, ANSWER)
    assert names == [INFER, LOOK, CONNECTED, INFER]


def test_what_is_not_made_again() -> None:
    for code in ("NOT_FOUND", "INTERNAL", "INVALID_ARGUMENT"):
        names, error = infer(core_of(), Failure(code))
        assert names == [INFER] and str(error) == f"{code}: broken"
    names, error = infer(core_of(), GONE, WRONG)
    assert names == [INFER, LOOK] and str(error) == "UNAVAILABLE: m is not ready: told so"
    # The server is there all the time: it is the call that fails.
    names, error = infer(core_of(), *[GONE, READY, True] * 2)
    assert names == [INFER, LOOK, CONNECTED] * 2 and str(error) == "UNAVAILABLE: broken"
    # It comes and goes.
    names, error = infer(core_of(), *[GONE, GONE, None, READY, True] * (client_core.ROUNDS - 1), GONE)
    assert names.count(INFER) == client_core.ROUNDS and str(error) == "UNAVAILABLE: broken"


def test_what_goes_to_files_is_sent_once() -> None:
    """Unless nobody can have got it."""
    core = core_of()
    for failure, again in ((GONE, []), (Failure("UNAVAILABLE", "Failed to connect to all"), [READY, True, ANSWER])):
        call = call_of(core)
        call.files["o"] = ("sessions/x/o", np.zeros(1, np.uint8))
        names, _ = play(core.infer(call), [failure, *again])
        assert names == ([INFER, LOOK, CONNECTED, INFER] if again else [INFER])


def test_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that the mount lists takes the place of one that is gone, or that says that it will not be ready."""
    monkeypatch.setattr(client_core, "find_servers", lambda *_: ["unix:a", "unix:b"])
    for why in (GONE, WRONG):
        core = core_of(address=None)
        names, _ = infer(core, GONE, why, None, READY, True, ANSWER)
        assert names == [INFER, LOOK, "pause 0.05", "RepositoryIndex b", CONNECTED, "ModelInfer b"]
        assert core.connection().address == "unix:b" and len(core.end()) == 4
    names, error = infer(core_of(address=None), GONE, WRONG, None, WRONG)
    assert names[-1] == "RepositoryIndex b" and str(error) == "UNAVAILABLE: m is not ready: told so"


def test_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begins when the server is found gone, however long the call had run, and while it loads the model there is none."""
    now = 0.0
    monkeypatch.setattr(client_deadline, "time", SimpleNamespace(monotonic=lambda: now))
    long, patience = 66.0, client_deadline.PATIENCE
    for timeout, ran, loading, end, kind in (
        (None, 0.0, 0.0, patience, InferenceError),
        (None, long, 0.0, long + patience, InferenceError),
        (None, long, 2 * long, 2 * long + patience, InferenceError),
        (3.0, 0.0, 9.0, 3.0, InferenceTimeout),
    ):
        now, core = 0.0, core_of(timeout)
        steps = core.infer(call_of(core))
        step = next(steps)
        assert step.timeout == timeout
        now += ran
        step = steps.throw(GONE)
        with pytest.raises(InferenceError, match="broken") as caught:
            while True:
                if isinstance(step, Pause):
                    now += step.seconds
                    step = steps.send(None)
                else:
                    step = steps.send(LOADING) if now < loading else steps.throw(GONE)
        assert caught.type is kind and abs(now - end) <= client_deadline.MOST_PAUSE + 1e-6


def test_timeouts_say_of_whom(monkeypatch: pytest.MonkeyPatch) -> None:
    """And how long they were, whoever was first to see that the time was over; a server may say it earlier."""
    now = 0.0
    monkeypatch.setattr(client_deadline, "time", SimpleNamespace(monotonic=lambda: now))
    over, queued = "DEADLINE_EXCEEDED: unix:a has not answered within 3 s", "DEADLINE_EXCEEDED: broken"
    for took, code, want in (
        (3.0, "DEADLINE_EXCEEDED", over),
        (2.99, "CANCELLED", over),
        (1.0, "DEADLINE_EXCEEDED", queued),
        (1.0, "CANCELLED", "CANCELLED: broken"),
        (3.0, "INTERNAL", "INTERNAL: broken"),
    ):
        core = core_of(3.0)
        for make in (
            lambda core=core: core.infer(call_of(core)),
            lambda core=core: core.stream(call_of(core, streamed=True)),
            lambda core=core: core.ask("ServerMetadata"),
        ):
            now = 0.0
            steps = make()
            next(steps)
            now = took
            with pytest.raises(InferenceError) as caught:
                steps.throw(Failure(code))
            assert str(caught.value) == want
            assert isinstance(caught.value, InferenceTimeout) == want.startswith("DEADLINE")


def test_nobody_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may come."""

    def nobody(*_: Any) -> list[str]:  # noqa: ANN401
        raise NoServer("nobody serves m")

    monkeypatch.setattr(client_core, "find_servers", nobody)
    core = core_of(address=None)
    names, _ = play(core.infer(call_of(core)), [None, None], ended=False)
    assert names == ["pause 0.05", "pause 0.1", "pause 0.2"]
    assert play(core.ready(None), []) == ([], False)


def test_timeout_of_a_request() -> None:
    """The parameter, in microseconds, is the caller's, unless the call's time is over before."""
    for timeout, asked, want in (
        (2e3, None, 2_000_000_000),
        (2e3, 5, 5),
        (2e3, 3_000_000_000, 2_000_000_000),
        (2e3, 0, 2_000_000_000),
        (2e3, "soon", "soon"),
        (None, 5, 5),
    ):
        core = core_of(timeout)
        call = core.call({}, None, None, None if asked is None else {"timeout": asked}, None, None, "")
        got = parameters_of(call.attempt().request.message.parameters)["timeout"]
        assert got == want or (want == 2_000_000_000 and 5 < got < want)


def test_fallbacks_count_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what of them went inline, nor how often."""

    def no_room(_: References) -> None:
        raise OSError(28, "no room")

    monkeypatch.setattr(References, "regions", no_room)
    references, large = References("auto", object.__new__(Mount)), np.zeros(THRESHOLD, np.uint8)
    for _ in range(2):
        call = Call(references, "m", {"a": large, "b": large}, None, None, None, client_deadline.Deadline(None))
        attempt = call.attempt()
        assert len(attempt.request.raw) == 2
        call.attempt()
        call.referring = True
        assert call.refused(attempt, InferenceError("NOT_FOUND", "another mount"))
        call.attempt()
        call.result(attempt, ANSWER)
        references.possible = True
    assert references.fallbacks == 2


def test_loading_a_model_ends() -> None:
    """By the timeout of the call or of the client; without one when there is no server, but not when that takes long."""
    for mine, given, want in ((2.0, None, 2.0), (2.0, 9.0, 9.0), (None, 9.0, 9.0)):
        send = next(core_of(mine).manage("RepositoryModelLoad", given, model_name="m"))
        assert (send.stub, send.timeout, send.wait) == ("RepositoryModelLoad a", want, True)
    steps = core_of().manage("RepositoryModelLoad", None, model_name="m")
    assert next(steps).within == client_deadline.PATIENCE
    send = steps.send(True)
    assert (send.stub, send.timeout, send.wait) == ("RepositoryModelLoad a", None, False)
    names, error = play(core_of().manage("RepositoryModelUnload", None, model_name="m"), [False])
    assert names == [CONNECTED] and str(error) == "UNAVAILABLE: no server at unix:a for 60 s"


def test_a_client_of_another_event_loop(tmp_path: Path) -> None:
    aio = client_async.AsyncClient("m", address=f"unix:{tmp_path}/nobody", by_reference="never")
    assert not asyncio.run(aio.ready())
    for ask in (aio.ready, aio.metadata, lambda: aio.infer({}), lambda: anext(aio.stream({}))):

        async def main(ask: Any = ask) -> None:  # noqa: ANN401
            with pytest.raises(RuntimeError, match="another event loop: make one in each"):
                await ask()

        asyncio.run(main())


@pytest.mark.parametrize("timeout", [None, 0.2])
def test_loading_ends_without_a_server(timeout: float | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(client_core, "PATIENCE", 0.2)
    options: dict[str, Any] = {"address": f"unix:{tmp_path}/nobody", "timeout": timeout, "by_reference": "never"}
    kind = InferenceError if timeout is None else InferenceTimeout

    async def unload() -> None:
        async with client_async.AsyncClient("m", **options) as aio:
            with pytest.raises(kind):
                await aio.unload()

    with client.Client("m", **options) as sync, pytest.raises(kind):
        sync.load()
    asyncio.run(unload())


def test_a_stream_is_made_again_before_its_first_result_only() -> None:
    core = core_of()
    begun = [GONE, READY, True, ("", None), ("", ANSWER), ("", ANSWER)]
    names, _ = play(core.stream(call_of(core, streamed=True)), [*begun, None])
    assert names == ["read", LOOK, CONNECTED, "read", "read", "result", "read", "result", "read"]
    _, error = play(core.stream(call_of(core, streamed=True)), [*begun, GONE])
    assert str(error) == "UNAVAILABLE: broken"


def failed(code: str) -> tuple[str, Response]:
    """How a server says that a stream's call failed."""
    response = Response(ModelInferResponse(model_name="m"), [])
    response.message.parameters["modelfs_code"].int64_param = grpc.StatusCode[code].value[0]
    return "broken", response


def test_a_stream_fails_with_a_code() -> None:
    core = core_of()
    for answer, want in (
        (("broken", None), "UNKNOWN"),  # another server's
        (("broken", Response(ModelInferResponse(), [])), "UNKNOWN"),
        (failed("INVALID_ARGUMENT"), "INVALID_ARGUMENT"),
        (failed("DEADLINE_EXCEEDED"), "DEADLINE_EXCEEDED"),
    ):
        names, error = play(core.stream(call_of(core, streamed=True)), [answer])
        assert (names, str(error)) == (["read"], f"{want}: broken")
        assert isinstance(error, InferenceTimeout) == (want == "DEADLINE_EXCEEDED")
    gone = failed("UNAVAILABLE")
    names, error = play(core.stream(call_of(core, streamed=True)), [gone, READY, True, ("", ANSWER), None])
    assert names == ["read", LOOK, CONNECTED, "read", "result", "read"] and error is None
    names, error = play(core.stream(call_of(core, streamed=True)), [("", ANSWER), gone])
    assert names == ["read", "result", "read"] and str(error) == "UNAVAILABLE: broken"


def test_a_stream_that_is_left_is_cancelled() -> None:
    core = core_of()
    steps = core.stream(call_of(core, streamed=True))
    play(steps, [GONE, READY, True, ("", ANSWER)], ended=False)
    first, second = core.connection().calls.streams
    assert first.cancelled and not second.cancelled
    steps.close()
    assert second.cancelled


def test_the_clients_do_the_same_steps() -> None:
    """And an error, of whatever kind, is the call's."""

    def steps(stub: Any, stream: Any) -> Steps:  # noqa: ANN401
        got = [(yield Send(stub, 1, (), 1.0, True))]
        yield Pause(0)
        while (item := (yield Read(stream))) is not None:
            got.append(item)
        for error in (Failure("INTERNAL"), KeyboardInterrupt(), asyncio.CancelledError()):
            with pytest.raises(type(error)):
                yield Send(stub, error, (), None)
        yield Result({}, "m", "", str(got), {})
        return got

    def stub(request: Any, **options: Any) -> tuple[Any, ...]:  # noqa: ANN401
        if isinstance(request, BaseException):
            raise request
        return request, *options.values()

    async def stub_async(request: Any, **options: Any) -> tuple[Any, ...]:  # noqa: ANN401
        return stub(request, **options)

    async def stream_async() -> Any:  # noqa: ANN401
        for item in "ab":
            yield item

    async def drive(steps: Steps) -> list[Any]:
        return [await client_async._drive(steps) for _ in range(2)]

    want = [(1, 1.0, (), True), "a", "b"]
    with_threads = steps(stub, iter("ab"))
    for first, last in (
        [client._drive(with_threads) for _ in range(2)],
        asyncio.run(drive(steps(stub_async, stream_async()))),
    ):
        assert (first.id, last) == (str(want), want)
