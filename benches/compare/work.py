"""What the tasks of all peers do. `PYTHONPATH` leads here, so a peer's workers can import it, too."""


def nothing(number):
    """A task of a fan."""
    return number


def increment(number):
    """A task of a chain, and the single one."""
    return number + 1


def total(numbers):
    """The task that takes the results of a fan."""
    return sum(numbers)


def same(content):
    """The task that takes 50 MB and returns them."""
    return content


def is_same(content, returned):
    """Raises when the 50 MB that came back are others."""
    if bytes(content) != bytes(returned):
        raise AssertionError("other bytes came back")


def is_total(n, returned):
    """Raises when the sum of a fan of `n` is wrong."""
    expect(n * (n - 1) // 2, returned)


def expect(expected, returned):
    """Raises when a result is not what it must be."""
    if expected != returned:
        raise AssertionError(f"{returned!r} instead of {expected!r}")
