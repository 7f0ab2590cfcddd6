"""A real Prometheus that scrapes a server under test: `cargo xtask services` starts it and names it in the environment.

Without it the tests say so and are skipped; with `CI=true` they fail.
"""

from __future__ import annotations

import json
import os
import re
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

VARIABLE = "COV_TEST_PROMETHEUS_URL"
TIMEOUT_S = 30


def missing(text: str) -> None:
    """Something that the test needs is not there."""
    if os.environ.get("CI") == "true":
        pytest.fail(text)
    pytest.skip(text)


class Prometheus:
    """What a Prometheus has seen of one server, from now on."""

    def __init__(self, target: str) -> None:
        self.url = os.environ.get(VARIABLE, "")
        if not self.url:
            missing(f"{VARIABLE} is not set: cargo xtask services -- COMMAND")
        self.target = target
        settings = self._ask("/api/v1/status/config", {})["yaml"]
        self._targets = Path(re.search(r"- (\S+/targets\.json)", settings)[1])
        self._change(lambda targets: [*targets, target])

    def close(self) -> None:
        self._change(lambda targets: [other for other in targets if other != self.target])

    def value(self, query: str) -> float | None:
        """What a query gives that has one sample. `$I` in it selects the server."""
        asked = query.replace("$I", f'instance="{self.target}"')
        found = self._ask("/api/v1/query", {"query": asked})["result"]
        assert len(found) <= 1, f"{query}: {found}"
        return float(found[0]["value"][1]) if found else None

    def wait(self, query: str, expected: float) -> None:
        """Returns as soon as the query gives this number."""
        until = time.monotonic() + TIMEOUT_S
        while (found := self.value(query)) != expected:
            assert time.monotonic() < until, f"{query} is {found} and not {expected}"
            time.sleep(0.1)

    def check(self, query: str) -> None:
        """Prometheus refuses a query that it cannot read."""
        self._ask("/api/v1/query", {"query": query.replace("$I", f'instance="{self.target}"')})

    def rules(self) -> list[dict]:
        """The alert rules that it has loaded, with how it fares with them."""
        groups = self._ask("/api/v1/rules", {})["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def _ask(self, path: str, parameters: dict):
        url = f"{self.url}{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            return json.load(answer)["data"]

    def _change(self, change) -> None:
        """Other workers of the suite have their targets in the same file."""
        lock = self._targets.with_suffix(".lock")
        until = time.monotonic() + TIMEOUT_S
        while True:
            try:
                os.close(os.open(lock, os.O_CREAT | os.O_EXCL))
                break
            except FileExistsError:
                assert time.monotonic() < until, f"{lock} is not given back"
                time.sleep(0.01)
        try:
            groups = json.loads(self._targets.read_text())
            targets = change([target for group in groups for target in group["targets"]])
            new = self._targets.with_suffix(".new")
            new.write_text(json.dumps([{"targets": targets}] if targets else []))
            new.rename(self._targets)
        finally:
            lock.unlink()
