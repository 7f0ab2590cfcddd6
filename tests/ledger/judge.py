"""The accounts of a kill ledger run, and the comparison of them. Starts nothing and asks nobody.

What the tasks wrote (the ledger), what the API showed (one `Seen` a dispatch) and what was killed
are compared; see `kill_ledger.py` for the four faults.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

TERMINAL = ("COMPLETED", "FAILED", "CANCELLED")
# A dispatch may begin before its client has been told of it.
TOLD_LATE_S = 5.0


@dataclass
class Killed:
    """One strike: when, and at what."""

    at: float
    what: str


@dataclass(frozen=True)
class Entry:
    """One line of the ledger: a task that says `begin` or `end`."""

    key: str
    what: str
    at: float


@dataclass
class Seen:
    """What the API has shown of one dispatch. Keys are `n<node>`, and `s<node>` below a sub-lattice."""

    shape: str
    tag: str
    acknowledged_at: float
    ended_at: float | None = None
    status: str = "NEW_OBJECT"
    completed_at: dict[str, float] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    overwritten: list[str] = field(default_factory=list)

    def fault(self, what: str) -> None:
        """Takes down what was shown and is so no longer, once however often it is seen."""
        if what not in self.overwritten:
            self.overwritten.append(what)

    def is_gone(self, now: float) -> None:
        """Takes down that the API does not know it any more."""
        self.fault("the dispatch is gone")
        self.ended_at = self.ended_at or now

    def show(self, manifest: dict, now: float) -> None:
        """Takes down one export, which had arrived at `now`."""
        shown = manifest["metadata"]["status"]
        if self.ended_at is not None and shown != self.status:
            self.fault(f"status {self.status} became {shown}")
        self.status = shown
        if shown in TERMINAL:
            self.ended_at = self.ended_at or now
        self.show_nodes("n", manifest, now)

    def show_nodes(self, prefix: str, manifest: dict, now: float) -> None:
        """Takes down the nodes of one export."""
        for node in manifest["lattice"]["transport_graph"]["nodes"]:
            key, status = f"{prefix}{node['id']}", node["metadata"]["status"]
            if status != "COMPLETED":
                if key in self.completed_at:
                    self.fault(f"{key} was COMPLETED, and became {status}")
                continue
            digest = node["assets"]["output"]["digest"]
            if digest is not None and self.outputs.setdefault(key, digest) != digest:
                self.fault(f"the output of {key} changed")
            self.completed_at.setdefault(key, now)


def read_ledger(path: Path) -> dict[str, list[Entry]]:
    """What each tag's tasks wrote, in the order of writing."""
    entries: dict[str, list[Entry]] = {}
    for line in path.read_text().splitlines():
        tag, key, what, at = line.split()
        entries.setdefault(tag, []).append(Entry(key, what, float(at)))
    return entries


def judge(
    seen: dict[str, Seen],
    ledger: dict[str, list[Entry]],
    kills: list[Killed],
    expected: dict[str, set[str]],
    now: float,
) -> dict[str, list[str]]:
    """Every fault of the run, by kind. `expected` tells the keys of a complete run of each shape."""
    report: dict[str, list[str]] = {"lost": [], "stuck": [], "repeated": [], "overwritten": []}
    for dispatch_id, one in seen.items():
        own = ledger.get(one.tag, [])
        named = f"{dispatch_id} ({one.shape}, {one.tag})"
        report["overwritten"] += [f"{named}: {what}" for what in one.overwritten]
        report["repeated"] += [f"{named}: {what}" for what in repetitions(own, one, kills, now)]
        if one.ended_at is None:
            report["stuck"].append(f"{named}: {one.status}")
            continue
        missing = expected[one.shape] - {entry.key for entry in own if entry.what == "end"}
        if one.status != "COMPLETED" or missing:
            report["lost"].append(f"{named}: {one.status}, missing {sorted(missing)}")
    return report


def repetitions(own: list[Entry], seen: Seen, kills: list[Killed], now: float) -> list[str]:
    """Tasks that began more often than kills explain, or after they had been shown COMPLETED."""
    first, last = seen.acknowledged_at - TOLD_LATE_S, seen.ended_at or now
    during = sum(first <= kill.at <= last for kill in kills)
    begins = Counter(entry.key for entry in own if entry.what == "begin")
    wrong = [f"{key} began {n} times, {during} kills" for key, n in begins.items() if n > 1 + during]
    for entry in own:
        shown = seen.completed_at.get(entry.key)
        if entry.what == "begin" and shown is not None and entry.at > shown:
            wrong.append(f"{entry.key} began {entry.at - shown:.3f} s after it had been shown COMPLETED")
    return wrong


def repeated_by_kills(ledger: dict[str, list[Entry]]) -> int:
    """How many tasks began more than once, rightly or not: what the kills have interrupted."""
    begins = Counter((tag, e.key) for tag, own in ledger.items() for e in own if e.what == "begin")
    return sum(n > 1 for n in begins.values())
