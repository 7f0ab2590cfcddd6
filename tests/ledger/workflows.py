"""The workflows of the kill ledger. Every task writes `<tag> <key> begin|end <time>` to the ledger.

A key is `n<node id>` for tasks of the outer lattice, so that it can be compared with what the API
shows of that node, and `s<node id>` for tasks of a sub-lattice.
"""

from __future__ import annotations

import sys

import cloudpickle
import covalent as ct

cloudpickle.register_pickle_by_value(sys.modules[__name__])

# Runners are killed too; a task that dies with its runner is tried again.
EXECUTOR = ct.executor.LocalExecutor(retries=1_000)


def write_down(ledger: str, tag: str, what: str, prefix: str) -> None:
    """Appends one line in one write, so that lines of several processes never mix."""
    import os
    import time

    import covalent

    key = f"{prefix}{covalent.get_context().task_id}"
    line = f"{tag} {key} {what} {time.time():.6f}\n".encode()
    descriptor = os.open(ledger, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def work(tag, pace, ledger, prefix):
    """What every task does: say that it begins, take a while, say that it ends."""
    import time

    write_down(ledger, tag, "begin", prefix)
    time.sleep(pace)
    write_down(ledger, tag, "end", prefix)


@ct.electron(executor=EXECUTOR)
def step(tag, pace, ledger, *inputs):
    work(tag, pace, ledger, "n")
    return len(inputs)


@ct.electron(executor=EXECUTOR)
def inner(tag, pace, ledger, *inputs):
    work(tag, pace, ledger, "s")
    return len(inputs)


def pair(tag, pace, ledger):
    first = inner(tag, pace, ledger)
    return inner(tag, pace, ledger, first)


below = ct.electron(ct.lattice(pair, executor=EXECUTOR, workflow_executor=EXECUTOR), executor=EXECUTOR)


def chain(tag, pace, ledger):
    value = step(tag, pace, ledger)
    for _ in range(4):
        value = step(tag, pace, ledger, value)
    return value


def fan(tag, pace, ledger):
    return step(tag, pace, ledger, *[step(tag, pace, ledger) for _ in range(6)])


def diamond(tag, pace, ledger):
    top = step(tag, pace, ledger)
    left, right = step(tag, pace, ledger, top), step(tag, pace, ledger, top)
    return step(tag, pace, ledger, left, right)


def sublattice(tag, pace, ledger):
    top = step(tag, pace, ledger)
    return step(tag, pace, ledger, top, below(tag, pace, ledger))


FUNCTIONS = {"chain": chain, "fan": fan, "diamond": diamond, "sublattice": sublattice}


def build(shape: str):
    """A new lattice of this shape."""
    return ct.lattice(FUNCTIONS[shape], executor=EXECUTOR, workflow_executor=EXECUTOR)


def expected_keys(shape: str) -> set[str]:
    """The keys that a complete run of this shape leaves in the ledger."""
    keys = {f"n{node}" for node in nodes_named("step", FUNCTIONS[shape])}
    if shape == "sublattice":
        keys |= {f"s{node}" for node in nodes_named("inner", pair)}
    return keys


def nodes_named(name: str, function) -> list[int]:
    """The ids of the nodes with this name in the graph of a function."""
    lattice = ct.lattice(function)
    lattice.build_graph("tag", 0.0, "ledger")
    graph = lattice.transport_graph._graph
    return [node for node in graph.nodes if graph.nodes[node]["name"] == name]
