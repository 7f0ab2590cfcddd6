"""What operators see: a real Prometheus scrapes a server that runs real dispatches, and its numbers are right."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import covalent as ct
import pytest
from checks import completed, failed
from meeting import arrive
from prometheus import Prometheus, missing

NAMES = [f"held {number}" for number in range(5)]
OPS = Path(__file__).resolve().parents[2] / "ops"


@ct.electron
def double(number):
    return 2 * number


@ct.electron
def broken():
    raise ValueError("on purpose")


@ct.electron
def gone():
    os._exit(3)


@ct.lattice
def fan(width):
    return [double(number) for number in range(width)]


@ct.lattice
def raises():
    return broken()


@ct.lattice
def dies():
    return gone()


@ct.electron
def held(address, name):
    return arrive(address, name)


@ct.lattice
def meetings(address):
    return [held(address, name) for name in NAMES]


@pytest.fixture
def measured(spawn_server):
    """A server of its own, and a Prometheus that scrapes it."""
    server = spawn_server(workers=2)
    prometheus = Prometheus(f"{server.host}:{server.port}")
    prometheus.wait("up{$I}", 1)
    yield server, prometheus
    prometheus.close()


def _dispatch(server, workflow, *args) -> str:
    return ct.dispatch(workflow, dispatcher_addr=server.url)(*args)


def _result(server, dispatch_id: str):
    return ct.get_result(dispatch_id, wait=True, dispatcher_addr=server.url)


def test_prometheus_counts_what_was_run(measured):
    server, prometheus = measured
    for _ in range(4):
        completed(_result(server, _dispatch(server, fan, 5)))
    failed(_result(server, _dispatch(server, raises)))
    failed(_result(server, _dispatch(server, dies)))
    prometheus.wait('cov_dispatches_ended_total{$I, status="completed"}', 4)
    prometheus.wait('cov_dispatches_ended_total{$I, status="failed"}', 2)
    prometheus.wait("cov_dispatch_duration_seconds_count{$I}", 6)
    prometheus.wait("cov_dispatches_registered_total{$I}", 6)
    prometheus.wait('cov_tasks_ended_total{$I, fault="task"}', 1)
    prometheus.wait('cov_tasks_ended_total{$I, fault="runner"}', 1)
    prometheus.wait('cov_tasks_ended_total{$I, fault=~"server|lost|executor|timeout"} > 0', None)
    # The electrons, and the lists that gather their values.
    assert prometheus.value('cov_tasks_ended_total{$I, status="completed"}') >= 4 * 5
    prometheus.wait('cov_runner_ends_total{$I, kind="python", cause="died"}', 1)
    prometheus.wait("cov_queue_length{$I}", 0)
    prometheus.wait("cov_tasks_running{$I}", 0)
    prometheus.wait("cov_slots{$I}", 2)
    prometheus.wait("cov_commit_failures_total{$I}", 0)
    route = 'route="/api/v2/dispatches", method="POST"'
    prometheus.wait(f'sum(cov_http_requests_total{{$I, {route}, status=~"2.."}})', 6)
    assert prometheus.value("cov_store_database_bytes{$I}") > 0
    assert prometheus.value("cov_commit_sets_sum{$I} >= cov_commit_sets_count{$I}") > 6


def test_what_runs_and_what_waits_is_seen(measured, meeting_point):
    server, prometheus = measured
    dispatch_id = _dispatch(server, meetings, meeting_point.address)
    try:
        prometheus.wait("cov_tasks_running{$I}", 2)
        prometheus.wait("cov_queue_length{$I}", 3)
        prometheus.wait("cov_dispatches_active{$I}", 1)
    finally:
        meeting_point.release(*NAMES)
    completed(_result(server, dispatch_id))
    prometheus.wait("cov_queue_length{$I}", 0)
    prometheus.wait("cov_dispatches_active{$I}", 0)


def test_the_rules_are_loaded_and_every_panel_has_an_answer(measured):
    server, prometheus = measured
    completed(_result(server, _dispatch(server, fan, 2)))
    prometheus.wait('cov_dispatches_ended_total{$I, status="completed"}', 1)
    rules = prometheus.rules()
    assert len(rules) >= 10
    for rule in rules:
        assert rule["health"] in ("ok", "unknown"), rule
        assert set(rule["annotations"]) == {"summary", "what_to_do"}, rule["name"]
    dashboard = json.loads((OPS / "grafana" / "dispatches.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(queries) > 20
    for query in queries:
        asked = query.replace('instance=~"$instance"', "$I").replace("$__rate_interval", "10s")
        prometheus.check(asked)
    gauges = [query for query in queries if re.fullmatch(r"cov_\w+\{[^}]*\}", query)]
    assert gauges
    for query in gauges:
        asked = query.replace('instance=~"$instance"', "$I")
        assert prometheus.value(asked) is not None, query


@pytest.mark.parametrize("command", [["check", "rules", "rules.yml"], ["test", "rules", "rules.test.yml"]])
def test_the_rules_pass_their_own_tests(command):
    promtool = shutil.which("promtool")
    if not promtool:
        missing("promtool is not installed: cargo xtask services -- COMMAND")
    done = subprocess.run(
        [promtool, *command], cwd=OPS / "prometheus", capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_can_read_a_scrape(server):
    import urllib.request

    with urllib.request.urlopen(f"{server.url}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    names = {line.split(" ")[2] for line in text.splitlines() if line.startswith("# TYPE ")}
    assert len(names) > 20
    for line in text.splitlines():
        if not line.startswith("#"):
            assert re.fullmatch(r'\w+(\{(\w+="[^"\n]*",?)*\})? \S+', line), line
            name = line.split("{")[0].split(" ")[0]
            known = [name, *(name.removesuffix(end) for end in ("_total", "_bucket", "_sum", "_count", "_info"))]
            assert any(one in names for one in known), line
