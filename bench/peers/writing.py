# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""The speed of numpy's writes into memory that has been touched before.

writing.py session BYTES PASSES MOUNT    a tensor of a session
writing.py native BYTES PASSES           the process's own memory
"""

import json
import statistics
import sys
import time

import modelfs
import numpy as np


def main() -> None:
    where, size, passes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    source = np.arange(size // 8, dtype=np.int64)
    session = None
    if where == "session":
        session = modelfs.Session("bench-writing", quota=size + (1 << 20), mount=sys.argv[4])
        target = session.create("tensor", size // 8, "int64")
    else:
        target = np.empty_like(source)
    times = []
    for i in range(passes + 2):
        source[0] = i
        began = time.perf_counter()
        np.copyto(target, source)
        if i >= 2:  # the first ones touch the pages
            times.append(time.perf_counter() - began)
    if session is not None:
        seen = session.open("tensor")
        assert seen[0] == passes + 1 and seen[-1] == source[-1], "another mapping sees other bytes"
        del seen, target
        session.delete()
    print(json.dumps({"seconds": statistics.median(times), "bytes": size, "count": passes}))


main()
