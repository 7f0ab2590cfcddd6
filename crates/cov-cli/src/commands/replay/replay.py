"""Runs one task of a dispatch again, in the foreground: `replay.py FOLDER`.

Exit codes: 0, it returned; 1, it raised; 4, cloudpickle is missing.
"""

import functools
import json
import os
import pdb
import sys
import traceback

FOLDER = os.path.abspath(sys.argv[1])


def main() -> int:
    """Runs the task that the folder describes."""
    try:
        from cov_runner import task as tasks
    except ImportError as error:
        print(f"{sys.executable} cannot run tasks: {error}", file=sys.stderr)
        print(f"try: {sys.executable} -m pip install cloudpickle", file=sys.stderr)
        return 4
    from cov_runner.frames import File, Task

    # What the user's modules import must come from where the command was typed.
    sys.path[0] = os.getcwd()
    with open(os.path.join(FOLDER, "task.json"), encoding="utf-8") as file:
        said = json.load(file)

    def stored(name: str) -> File:
        return File(os.path.join(FOLDER, name))

    task = Task(
        attempt=0,
        dispatch="replay",
        node=said["node"],
        function=stored("function"),
        hooks=stored("hooks") if said["hooks"] else None,
        run_callables=said["run_callables"],
        args=[(node, stored(name)) for node, name in said["args"]],
        kwargs=[(word, node, stored(name)) for word, node, name in said["kwargs"]],
        work_dir=None,
    )
    tasks.enter(task, tasks.Settings(os.getcwd(), FOLDER, said["address"], 1 << 40))
    if said["debug"]:
        stop_at_first_line(tasks)
    try:
        written = tasks.output_of(task)
    except (Exception, SystemExit) as error:
        return failed(tasks, error, said["debug"])
    print(f"it returned {str(written.printed, 'utf-8', 'replace')}", file=sys.stderr)
    return 0


def stop_at_first_line(tasks) -> None:
    """Calls the task's function under the debugger."""
    call = tasks.Inputs.call

    def debugged(inputs, function, shapes, injected):
        return call(inputs, functools.partial(pdb.runcall, function), shapes, injected)

    tasks.Inputs.call = debugged


def failed(tasks, error: BaseException, debug: bool) -> int:
    """Shows what was raised, and the place of it."""
    if type(error).__name__ == "BdbQuit":
        return 1
    # From here on down it is the runner's frames, which it leaves out itself.
    below = error.__traceback__.tb_next if error.__traceback__ else None
    print(tasks._format(error.with_traceback(below)), end="", file=sys.stderr)
    if debug and error.__traceback__ is not None:
        pdb.post_mortem(error.__traceback__)
    return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        traceback.print_exc()
        sys.exit(1)
