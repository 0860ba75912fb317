"""What a user did wrong or what the world did to them: one line, no traceback."""

import functools
import sys


class Failure(Exception):
    """Something that could not be done; the message is one line that names the file or value. Exit code 1."""

    exit_code = 1


class BadInput(Failure):
    """A request that cannot be meant as it stands: unknown name, wrong type, missing argument. Exit code 2."""

    exit_code = 2


def warn(message: str) -> None:
    """Tell of something that went wrong and does not end the command, in one line on stderr."""
    print(f"l2o: warning: {message}", file=sys.stderr, flush=True)


told_elsewhere = False  # whether the process that started this one says what both notice


@functools.cache
def warn_once(message: str) -> None:
    """`warn`, the first time in this process, unless it is `told_elsewhere`."""
    if not told_elsewhere:
        warn(message)
