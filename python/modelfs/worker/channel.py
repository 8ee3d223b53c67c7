# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""The socket to the server, and the files that it hands over, each mapped once."""

from __future__ import annotations

import array
import logging
import os
import socket

from modelfs.mapping import Bytes, map_shared
from modelfs.worker import records
from modelfs.worker.records import BrokenProtocol, Place

_ANCILLARY = socket.CMSG_SPACE(4 * records.MAX_FILES)


class Channel:
    """Receives for one thread, sends for any."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.set_inheritable(False)
        self._socket.setblocking(True)
        self._buffer = bytearray(records.MAX_RECORD + 1)
        self._view = memoryview(self._buffer)
        self._into = [self._view]
        self._files: dict[int, tuple[Bytes, Bytes]] = {}  # to read, and as it may be used
        self.send = self._socket.send  # a record is sent whole, or waits

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self, wait: bool = True) -> tuple[int, int, int, memoryview] | None:
        """The next record's type, flags, id and bytes, which are valid until the next call; None when the
        server is gone. FILES and FORGET are done here. Raises BlockingIOError if there is none and
        wait=False."""
        flags = socket.MSG_CMSG_CLOEXEC if wait else socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
        while True:
            size, ancillary, _, _ = self._socket.recvmsg_into(self._into, _ANCILLARY, flags)
            if size == 0:
                return None
            record = self._view[:size]
            kind, marks, count, id = records.header(record)
            if kind == records.FILES:
                self._take(record, count, ancillary)
            elif kind == records.FORGET:
                for key in records.keys(record, count):
                    self._files.pop(key, None)  # unmapped when the last array of it is gone
            else:
                return kind, marks, id, record

    def _take(self, record: memoryview, count: int, ancillary: list[tuple[int, int, bytes]]) -> None:
        fds = array.array("i")
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
        try:
            files = records.files(record, count)
            if len(fds) != len(files):
                raise BrokenProtocol(f"{len(files)} files and {len(fds)} descriptors")
            for fd, (key, size, writable) in zip(fds, files, strict=True):
                self._files.pop(key, None)
                memory = map_shared(fd, writable)[:size]
                if len(memory) != size:
                    raise BrokenProtocol(f"file {key} of {size} bytes has {len(memory)}")
                read_only = memory.view()
                read_only.flags.writeable = False
                self._files[key] = read_only, memory
        finally:
            for fd in fds:
                os.close(fd)

    def memory(self, place: Place) -> Bytes:
        """The file of a place, to be read."""
        return self._files[place[0]][0]

    def writable(self, place: Place) -> Bytes:
        """The file of a place, to be written."""
        return self._files[place[0]][1]


class ChannelLog(logging.Handler):
    """Sends what is logged to the server."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = min(max(record.levelno // 10 - 1, 0), 3)
            self._channel.send(records.log(level, f"{record.name}: {self.format(record)}"))
        except OSError:
            pass  # the server is gone, and this process is about to follow
        except Exception:  # noqa: BLE001 - as logging has it: what is logged never fails its caller
            self.handleError(record)
