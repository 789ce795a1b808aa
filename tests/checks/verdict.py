"""What the checks beside this one say: a line a test, and an exit status when all is said."""

import sys

_failed = []


def report(name, why=None):
    """`ok NAME`, or with a reason `not ok NAME: why`."""
    if why is not None:
        _failed.append(name)
    print(f"not ok {name}: {why}" if why else f"ok {name}", flush=True)


def finish():
    """Ends the program: 1 when a test failed."""
    sys.exit(len(_failed) > 0)
