"""What the peers have in common: the time of a load, and a proof that it is in memory."""

import json
import sys
import time
from collections.abc import Callable


def own_memory() -> int:
    """Bytes of this process that are its own, not mapped from a file."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) << 10
    raise RuntimeError("/proc/self/status has no RssAnon")


def main(version: str, load: Callable[[str], object]) -> None:
    """`--version` says what would be measured; a path measures its load."""
    if sys.argv[1] == "--version":
        print(json.dumps({"seconds": 0, "version": version}))
        return
    before = own_memory()
    began = time.perf_counter()
    weights = load(sys.argv[1])
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "rss": own_memory() - before, "version": version}))
    del weights
