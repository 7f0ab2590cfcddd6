"""Runs the Python tasks of the dispatch server.

A zygote imports what tasks need and forks runners; each runner takes tasks from the server over a
socket. Needs the standard library and cloudpickle; imports covalent ahead of need when it is there.
"""
