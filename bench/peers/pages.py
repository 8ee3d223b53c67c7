"""The memory of a forked process, as a process has it that did the imports itself.

After fork(2) the first write into every page copies it, and the code that was mapped has to be found anew: some
thousand page faults in what a child does first, whatever that is, and none of them its own doing."""

import ctypes
import os

import numpy as np

_PAGE = os.sysconf("SC_PAGE_SIZE")
_POPULATE_READ, _POPULATE_WRITE = 22, 23  # madvise(2), since Linux 5.14
_PRESENT, _OF_FILE = np.uint64(1 << 63), np.uint64(1 << 61)  # of a page, in /proc/PID/pagemap

Range = tuple[int, int, int]  # address, size, advice


def present() -> list[Range]:
    """What of its memory this process has, and how a child of it gets the same."""
    found: list[Range] = []
    with open("/proc/self/maps") as maps, open("/proc/self/pagemap", "rb", buffering=0) as pages:
        for line in maps.read().splitlines():
            where, access, *_ = line.split()
            begin, end = (int(x, 16) for x in where.split("-"))
            if access[0] != "r" or access[3] != "p" or "[v" in line:  # the kernel's own: vdso, vvar
                continue
            table = os.pread(pages.fileno(), 8 * ((end - begin) // _PAGE), 8 * (begin // _PAGE))
            words = np.frombuffer(table, np.uint64)
            there, of_file = words & _PRESENT != 0, words & _OF_FILE != 0
            written = _POPULATE_WRITE if access[1] == "w" else _POPULATE_READ
            found += _runs(begin, there & of_file, _POPULATE_READ) + _runs(begin, there & ~of_file, written)
    return found


def _runs(begin: int, chosen: np.ndarray, advice: int) -> list[Range]:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], chosen.view(np.int8), [0])))).tolist()
    return [(begin + a * _PAGE, (b - a) * _PAGE, advice) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def take(ranges: list[Range]) -> None:
    """In the child: copies what the parent has written, and maps what it has mapped."""
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for address, size, advice in ranges:
        if madvise(address, size, advice):
            code = ctypes.get_errno()
            raise OSError(code, f"cannot have {size} bytes at {address:x} beforehand: {os.strerror(code)}")
