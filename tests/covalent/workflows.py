"""Workflows that leave one of everything in a database of Covalent: every kind of node, every way to end."""

import sys

import cloudpickle
import covalent as ct

# Whoever runs them has no such module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@ct.electron(executor="local")
def add(x, y=1):
    print("adding", x, "and", y)
    return x + y


@ct.electron(executor="local")
def split(text):
    return {"letters": list(text), "length": len(text)}


@ct.electron(executor="local")
def large(size):
    print("a large one", file=sys.stderr)
    return b"\x00" * size


@ct.electron(executor="local")
def fail(reason):
    raise ValueError(reason)


@ct.electron(executor="local")
def wait_for(path):
    import os
    import time

    while not os.path.exists(path):
        time.sleep(0.1)
    return path


@ct.electron(executor="local", deps_bash=["true"])
def with_hooks(x):
    return x


@ct.lattice(executor="local", workflow_executor="local")
def sums(a, b=2):
    """Adds, and takes apart."""
    first = add(a, y=b)
    second = add(first)
    third = with_hooks(second)
    ct.wait(third, [first])
    parts = split("abc")
    return [second, third, parts["length"], {"letters": parts["letters"]}]


@ct.lattice(executor="local", workflow_executor="local")
def fails(reason):
    return add(fail(reason))


@ct.electron(executor="local")
@ct.lattice(executor="local", workflow_executor="local")
def below(x):
    return add(x, y=10)


@ct.lattice(executor="local", workflow_executor="local")
def nested(x):
    return add(below(x))


@ct.lattice(executor="local", workflow_executor="local")
def heavy(size, text):
    return large(size), split(text)["length"]


@ct.lattice(executor="local", workflow_executor="local")
def waits(path):
    return add(wait_for(path), y="!")
