"""Runs tasks on executors beyond this machine: Covalent's executor plugins, and Dask.

One process hosts them all. It speaks with the server over a socket, runs no task itself, and ends
with the server; the jobs that it submitted elsewhere go on. Needs the standard library,
cloudpickle, and what the plugins need: covalent.
"""
