"""The Python half of the example `mixed`: plain functions that know nothing of workflows."""

import math


def smooth(values, width=3):
    """The mean of each value and its neighbours. Takes and returns a NumPy array."""
    import numpy

    return numpy.convolve(values, numpy.ones(width) / width, mode="same")


def describe(values):
    """What a set of numbers looks like, in a few words that every language reads."""
    values = [float(value) for value in values]
    mean = math.fsum(values) / len(values)
    return {"count": len(values), "mean": mean, "low": min(values), "high": max(values)}
