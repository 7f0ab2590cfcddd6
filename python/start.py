"""Entry of the zygote, and of the host of executor plugins. Any Python, however old, can read it and say what is missing.

Exit codes: 3, this Python is too old; 4, cloudpickle is missing; 5, covalent is missing.
"""

import os
import sys

EXIT_TOO_OLD = 3
EXIT_NO_CLOUDPICKLE = 4
OLDEST = (3, 8)
PLUGINS = "--plugins"


def refuse(code, sentence):
    """Says why no task can run with this interpreter, and ends."""
    sys.stderr.write(sentence + "\n")
    sys.stderr.flush()
    os._exit(code)


def main():
    """Checks the interpreter, then becomes the zygote, or the host of executor plugins."""
    version = "%d.%d.%d" % tuple(sys.version_info[:3])
    if sys.version_info[:2] < OLDEST:
        refuse(EXIT_TOO_OLD, "Python %s is too old: tasks need 3.8 or newer" % version)
    try:
        import cloudpickle  # noqa: F401
    except ImportError as error:
        sentence = "Python %s (%s) has no cloudpickle: %s"
        refuse(EXIT_NO_CLOUDPICKLE, sentence % (version, sys.executable, error))
    if sys.argv[1:2] == [PLUGINS]:
        from cov_plugins import host

        sys.path.pop(0)
        host.main(sys.argv[2:])
    from cov_runner import zygote

    # What stands here is for the runner alone; tasks must not import from this folder.
    sys.path.pop(0)
    zygote.main(sys.argv[1:])


# A task that starts processes by `multiprocessing` has this file read again there.
if __name__ == "__main__":
    main()
