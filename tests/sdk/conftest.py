"""Starts the server under test and prepares the SDK before any test module imports it.

The server's address must be known before the first `import covalent`, which happens during collection;
so the server starts with the session (one per xdist worker), not with the first test.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from harness import ExternalServer, Server, isolate_sdk, pickle_by_value, point_sdk_at

SERVERS = pytest.StashKey[list]()
ROOT = pytest.StashKey[Path]()


def _is_xdist_controller(config: pytest.Config) -> bool:
    return bool(config.getoption("numprocesses", None)) and not hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    binary = os.environ.get("COV_SERVER_BIN", "")
    if os.environ.get("COV_SDK_ADDRESS"):
        return
    if not binary:
        raise pytest.UsageError(
            "COV_SERVER_BIN is not set. Build the server and name it: "
            "cargo build --release -p cov-server -p cov-cli && "
            "COV_SERVER_BIN=$PWD/target/release/cov-server python -m pytest tests/sdk"
        )
    if not os.access(binary, os.X_OK):
        raise pytest.UsageError(f"COV_SERVER_BIN={binary} is not an executable file")


def pytest_sessionstart(session: pytest.Session) -> None:
    config = session.config
    if _is_xdist_controller(config):
        return
    root = Path(tempfile.mkdtemp(prefix="cov-sdk-"))
    config.stash[ROOT] = root
    isolate_sdk(root / "user")
    pickle_by_value()
    address = os.environ.get("COV_SDK_ADDRESS")
    if address:
        main = ExternalServer(address)
        os.environ["COVALENT_DISABLE_DASK"] = "1"
    else:
        main = Server(os.environ["COV_SERVER_BIN"], root / "server").start()
    config.stash[SERVERS] = [main]
    point_sdk_at(main.host, main.port)


def pytest_sessionfinish(session: pytest.Session) -> None:
    for server in session.config.stash.get(SERVERS, []):
        if isinstance(server, Server) and server.alive():
            server.kill9()
    root = session.config.stash.get(ROOT, None)
    if root and not os.environ.get("COV_SDK_KEEP"):
        shutil.rmtree(root, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    report = yield
    if report.failed:
        for number, server in enumerate(item.config.stash.get(SERVERS, [])):
            log = server.log_since_mark()
            if log:
                report.sections.append((f"server {number} {server.url} stderr", log[-20_000:]))
    return report


def pytest_terminal_summary(terminalreporter) -> None:
    """A table by theme: what the suite shows at a glance."""
    rows: dict[str, list] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.getreports(outcome):
            theme = Path(report.nodeid.partition("::")[0]).stem.removeprefix("test_")
            row = rows.setdefault(theme, [0, 0, 0.0])
            if outcome == "passed":
                row[0] += report.when == "call"
            else:
                row[1] += outcome != "skipped"
            row[2] += getattr(report, "duration", 0.0)
    if rows:
        terminalreporter.write_line(f"{'theme':<20} passed  failed  seconds")
        for theme, (passed, failed, seconds) in sorted(rows.items()):
            terminalreporter.write_line(f"{theme:<20} {passed:>6}  {failed:>6}  {seconds:>7.1f}")


@pytest.fixture(scope="session", autouse=True)
def server(request: pytest.FixtureRequest):
    """The server every test uses unless it asks for its own; it must survive the whole suite."""
    main = request.config.stash[SERVERS][0]
    yield main
    if isinstance(main, ExternalServer):
        return
    assert main.alive(), f"the server died during the suite\n{main.stderr_text()[-20_000:]}"
    panics = main.panics()
    code = main.stop()
    assert not panics, "the server panicked:\n" + "\n".join(panics)
    assert code == 0, f"SIGTERM ended the server with exit code {code}"


@pytest.fixture(autouse=True)
def _mark_logs(request: pytest.FixtureRequest):
    for running in request.config.stash[SERVERS]:
        running.mark()


@pytest.fixture
def spawn_server(request: pytest.FixtureRequest, tmp_path: Path):
    """A function that starts further servers, each with its own data directory."""
    binary = os.environ.get("COV_SERVER_BIN")
    if not binary:
        pytest.fail("this test starts its own server: set COV_SERVER_BIN, or deselect own_server")
    servers = request.config.stash[SERVERS]
    started: list[Server] = []

    def spawn(*, start: bool = True, name: str | None = None, **options) -> Server:
        new = Server(binary, tmp_path / (name or f"server{len(started)}"), **options)
        started.append(new)
        servers.append(new)
        return new.start() if start else new

    yield spawn
    for extra in started:
        if extra.alive():
            extra.stop()
        panics = extra.panics()
        servers.remove(extra)
        assert not panics, "a server panicked:\n" + "\n".join(panics)


@pytest.fixture
def meeting_point():
    """Where tasks of this test report and wait; see `meeting.arrive`."""
    from meeting import Meeting

    point = Meeting()
    yield point
    point.close()


@pytest.fixture
def firings(server, meeting_point):
    """Arms triggers and sees what they run; see `firing.Firings`. Stops what the test has armed."""
    from firing import Firings

    seen = Firings(server, meeting_point)
    yield seen
    seen.close()


@pytest.fixture
def python() -> str:
    """The interpreter the runners use."""
    return sys.executable
