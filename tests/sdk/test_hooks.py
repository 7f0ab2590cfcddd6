"""Hooks: bash, pip and call dependencies, injected keywords, file transfers, module dependencies."""

import os
import subprocess
import types
import uuid
import zipfile

import covalent as ct
import pytest
from checks import completed, failed, node, run, status_of


@ct.electron
def identity(value):
    return value


def _append(path, text):
    with open(path, "a") as file:
        file.write(text)
    return text


def _read(path):
    with open(path) as file:
        return file.read()


def test_order_of_everything(tmp_path):
    """Bash, then the calls before, then the function, then the calls after."""
    log = str(tmp_path / "log")

    @ct.electron(
        deps_bash=ct.DepsBash([f"printf bash1, >> {log}", f"printf bash2, >> {log}"]),
        call_before=[
            ct.DepsCall(_append, args=[log, "before1,"]),
            ct.DepsCall(_append, kwargs={"path": log, "text": "before2,"}),
        ],
        call_after=[ct.DepsCall(_append, args=[log, "after1,"]), ct.DepsCall(_append, [log, "end"])],
    )
    def task(path):
        return _append(path, "function,")

    @ct.lattice
    def workflow(path):
        return task(path)

    assert run(workflow, log) == "function,"
    assert _read(log) == "bash1,bash2,before1,before2,function,after1,end"


@pytest.mark.parametrize("given", ["text", "list", "object"])
def test_ways_of_giving_bash_commands(tmp_path, given):
    target = tmp_path / "made"
    command = f"touch {target}"
    deps = {"text": command, "list": [command], "object": ct.DepsBash(command)}[given]

    @ct.electron(deps_bash=deps)
    def task(path):
        return os.path.exists(path)

    @ct.lattice
    def workflow(path):
        return task(path)

    assert run(workflow, str(target)) is True


def test_bash_command_that_fails():
    @ct.electron(deps_bash="exit 7")
    def task(x):
        return x

    @ct.lattice
    def workflow(x):
        return task(x), identity(x)

    result = ct.dispatch_sync(workflow)(1)
    failed(result)
    assert "exit status 7" in node(result, "task")["stderr"]
    assert status_of(result, "identity") == "COMPLETED"


def test_injected_keywords(tmp_path):
    """One call gives its value, several with the same keyword give a list."""

    def make(value):
        return value

    @ct.electron(
        call_before=[
            ct.DepsCall(make, args=["one"], retval_keyword="single"),
            ct.DepsCall(make, args=[1], retval_keyword="several"),
            ct.DepsCall(make, args=[2], retval_keyword="several"),
            ct.DepsCall(make, args=["dropped"]),
        ]
    )
    def task(x, single=None, several=None):
        return [x, single, several]

    @ct.lattice
    def workflow(x):
        return task(x)

    assert run(workflow, 0) == [0, "one", [1, 2]]


def test_injected_keyword_overrides_what_the_lattice_passed():
    @ct.electron(call_before=ct.DepsCall(lambda: "injected", retval_keyword="y"))
    def task(x, y="default"):
        return [x, y]

    @ct.lattice
    def workflow(x):
        return task(x, y="passed")

    assert run(workflow, 1) == [1, "injected"]


@pytest.mark.parametrize("where", ["call_before", "call_after"])
def test_call_that_raises(where):
    def explode():
        raise OSError(f"hook {where}")

    @ct.electron(**{where: ct.DepsCall(explode)})
    def task(x):
        return x

    @ct.lattice
    def workflow(x):
        return task(x)

    result = ct.dispatch_sync(workflow)(1)
    failed(result)
    assert f"OSError: hook {where}" in node(result, "task")["stderr"]


def test_lattice_hooks_are_inherited_by_electrons_without_their_own(tmp_path):
    log = str(tmp_path / "log")

    @ct.electron
    def inherits(path):
        return _read(path)

    @ct.electron(call_before=ct.DepsCall(lambda: None))
    def has_its_own(path):
        return os.path.exists(path)

    @ct.lattice(call_before=ct.DepsCall(_append, args=[log, "x"]))
    def workflow(path):
        return has_its_own(path), inherits(path)

    own, inherited = run(workflow, log)
    assert inherited.startswith("x")
    assert own in (True, False)
    # The inheriting electron and the postprocessing node ran it, the other did not.
    assert _read(log) == "xx"


def test_hooks_print_into_the_tasks_output():
    @ct.electron(
        call_before=ct.DepsCall(lambda: print("before")),
        call_after=ct.DepsCall(lambda: print("after")),
    )
    def task():
        print("during")

    @ct.lattice
    def workflow():
        return task()

    result = ct.dispatch_sync(workflow)()
    completed(result)
    assert node(result, "task")["stdout"] == "before\nduring\nafter\n"


def _wheel(directory, name):
    """A minimal pure-Python wheel, so that pip needs neither the network nor a build."""
    info = f"{name}-1.0.dist-info"
    path = directory / f"{name}-1.0-py3-none-any.whl"
    files = {
        f"{name}.py": "ANSWER = 42\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{member},,\n" for member in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(member, text)
    return path


@pytest.fixture
def package(tmp_path, python):
    """A package that nothing has installed yet; uninstalled afterwards."""
    name = f"cov_probe_{uuid.uuid4().hex[:12]}"
    yield name, _wheel(tmp_path, name)
    subprocess.run([python, "-m", "pip", "uninstall", "-y", name], check=True, capture_output=True)


@pytest.mark.parametrize("given", ["packages", "requirements"])
def test_pip_installs_into_the_runners_python(tmp_path, package, given):
    name, wheel = package
    if given == "packages":
        deps = ct.DepsPip(packages=[str(wheel)])
    else:
        requirements = tmp_path / "requirements.txt"
        requirements.write_text(f"{wheel}\n")
        deps = ct.DepsPip(reqs_path=str(requirements))

    @ct.electron(deps_pip=deps)
    def task(name):
        import importlib

        return importlib.import_module(name).ANSWER

    @ct.lattice
    def workflow(name):
        return task(name)

    assert run(workflow, name) == 42


def test_pip_that_fails(tmp_path):
    @ct.electron(deps_pip=ct.DepsPip(packages=[str(tmp_path / "missing-1.0-py3-none-any.whl")]))
    def task(x):
        return x

    @ct.lattice
    def workflow(x):
        return task(x)

    result = ct.dispatch_sync(workflow)(1)
    failed(result)
    assert "pip" in node(result, "task")["stderr"]


def test_file_transfer_before_the_task(tmp_path):
    source, target = tmp_path / "source.txt", tmp_path / "in" / "target.txt"
    source.write_text("carried")

    @ct.electron(files=[ct.fs.FileTransfer(str(source), str(target))])
    def task(files=[]):
        from_path, to_path = files[0]
        return [_read(to_path), from_path, to_path]

    @ct.lattice
    def workflow():
        return task()

    text, from_path, to_path = run(workflow)
    assert text == "carried"
    assert from_path == str(source) and to_path == str(target)


def test_file_transfer_after_the_task(tmp_path):
    source, target = tmp_path / "produced.txt", tmp_path / "out" / "kept.txt"

    @ct.electron(
        files=[ct.fs.FileTransfer(str(source), str(target), order=ct.fs.Order.AFTER)],
    )
    def task(text, files=[]):
        from_path, _ = files[0]
        with open(from_path, "w") as file:
            file.write(text)
        return len(files)

    @ct.lattice
    def workflow(text):
        return task(text)

    assert run(workflow, "made here") == 1
    assert target.read_text() == "made here"


def test_file_transfer_of_a_missing_file(tmp_path):
    @ct.electron(files=[ct.fs.FileTransfer(str(tmp_path / "none"), str(tmp_path / "b" / "c"))])
    def task(files=[]):
        return 1

    @ct.lattice
    def workflow():
        return task()

    result = ct.dispatch_sync(workflow)()
    failed(result)
    assert "FileNotFoundError" in node(result, "task")["stderr"]


def test_module_dependency_travels_by_value(tmp_path, monkeypatch):
    name = f"client_side_module_{uuid.uuid4().hex[:8]}"
    (tmp_path / f"{name}.py").write_text("def triple(x):\n    return 3 * x\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = __import__(name)
    assert isinstance(module, types.ModuleType)

    @ct.electron(deps_module=name)
    def task(x):
        return module.triple(x)

    @ct.lattice
    def workflow(x):
        return task(x)

    assert run(workflow, 5) == 15


def test_hooks_of_one_task_do_not_reach_the_next():
    @ct.electron(call_before=ct.DepsCall(lambda: "v", retval_keyword="value"))
    def first(value=None):
        return value

    @ct.electron
    def second(previous, value=None):
        return value

    @ct.lattice
    def workflow():
        return second(first())

    assert run(workflow) is None


def test_hook_with_an_injected_keyword_on_a_task_that_is_only_returned():
    """The helper of a plain return is the postprocessing node, which has none of the task's hooks."""

    @ct.electron(call_before=ct.DepsCall(lambda: 5, retval_keyword="value"))
    def task(value=None):
        return {"value": value}

    @ct.lattice
    def workflow():
        return task()

    assert run(workflow) == {"value": 5}
