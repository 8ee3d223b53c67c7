# Copyright The modelfs Authors
# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin: the closing line of the suite, in the words of the Go suite's."""

from __future__ import annotations

import pytest


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    count = {kind: len(reporter.getreports(kind)) for kind in ("passed", "failed", "error", "skipped")}
    print(f"pytest: {count['passed']} passed, {count['failed'] + count['error']} failed, {count['skipped']} skipped")
