"""Reading results: what several test files ask of a `Result`. Must not hide what the SDK returned."""

from __future__ import annotations

from typing import Any

import covalent as ct


def describe(result) -> str:
    """A failing test shows this: each node that did not complete, with its texts."""
    lines = [f"dispatch {result.dispatch_id} {result.status}: {result.error}"]
    for node in result.get_all_node_results():
        if str(node["status"]) != "COMPLETED":
            lines.append(f"{node['node_id']} {node['node_name'][:80]} {node['status']}")
            lines.extend(f"  {key}: {node[key]}" for key in ("error", "stderr") if node[key])
    return "\n".join(lines)


def completed(result) -> Any:
    """The value of a dispatch that must have completed, with nothing left in its error."""
    assert result.status == ct.status.COMPLETED, describe(result)
    assert not result.error, result.error
    return result.result


def failed(result) -> str:
    """The error text of a dispatch that must have failed without a value."""
    assert result.status == ct.status.FAILED, describe(result)
    assert result.result is None
    assert result.error
    return result.error


def cancelled(result):
    """A dispatch that must have been cancelled, and says no more than that."""
    assert result.status == ct.status.CANCELLED, describe(result)
    assert result.result is None
    assert not result.error
    return result


def run(workflow, *args, **kwargs) -> Any:
    """Dispatches, waits, and returns the value."""
    return completed(ct.dispatch_sync(workflow)(*args, **kwargs))


def nodes(result, name: str) -> list[dict]:
    """All nodes with exactly this name."""
    return [node for node in result.get_all_node_results() if node["node_name"] == name]


def node(result, name: str) -> dict:
    """The only node with this name."""
    found = nodes(result, name)
    names = [node["node_name"] for node in result.get_all_node_results()]
    assert len(found) == 1, f"{len(found)} nodes are called {name!r}: {names}"
    return found[0]


def status_of(result, name: str) -> str:
    """The status of the only node with this name, as text."""
    return str(node(result, name)["status"])


def value_of(result, name: str) -> Any:
    """The unpickled output of the only node with this name."""
    return node(result, name)["output"].get_deserialized()


def statuses(result) -> dict[int, str]:
    """The status of each node, as text."""
    return {n["node_id"]: str(n["status"]) for n in result.get_all_node_results()}


def until_shown(dispatch_id: str, node_id: int, status: str) -> None:
    """Asks again and again, and returns at the first answer that shows the node so."""
    while statuses(ct.get_result(dispatch_id))[node_id] != status:
        pass
