"""What a user did wrong or what the world did to them: one line, no traceback."""

import contextlib
import functools
import reprlib
import sys
from collections.abc import Iterator
from typing import Any

LONGEST_LINE = 280  # characters of a message: with what is put in front, `l2o: error: `, it is under 300
_BEGINNING = 190  # of them before what is left out: the file, the field and what is wrong stand first, what to do last
LONGEST_VALUE = 60  # characters of what was given, where a message quotes it

told_elsewhere = False  # whether the process that started this one says what both notice


class Failure(Exception):
    """Something that could not be done; the message is one line that names the file or value. Exit code 1."""

    exit_code = 1

    def __init__(self, message: str = ""):
        super().__init__(one_line(message))


class BadInput(Failure):
    """A request that cannot be meant as it stands: unknown name, wrong type, missing argument. Exit code 2."""

    exit_code = 2


@contextlib.contextmanager
def naming(place: object) -> Iterator[None]:
    """Within it the place, a field or an option, is put in front of what is wrong with what was given."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{place}: {error}") from None


def one_line(message: str) -> str:
    """The message on one line, what cannot be printed escaped, and the middle of a long one left out."""
    line = " ".join(str(message)[: 100 * LONGEST_LINE].split())
    if not line.isprintable():
        line = "".join(part if part.isprintable() else part.encode("unicode_escape").decode() for part in line)
    if len(line) <= LONGEST_LINE:
        return line
    return f"{line[:_BEGINNING]} ... {line[_BEGINNING + 5 - LONGEST_LINE :]}"


def shown(value: Any) -> str:
    """What was given, as a message quotes it."""
    shortened = reprlib.Repr()
    shortened.maxstring = shortened.maxother = shortened.maxlong = LONGEST_VALUE
    try:
        text = shortened.repr(value)
    except (ValueError, RecursionError):  # Python writes no number of thousands of digits
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


def warn(message: str) -> None:
    """Tell of something that went wrong and does not end the command, in one line on stderr."""
    print(f"l2o: warning: {one_line(message)}", file=sys.stderr, flush=True)


@functools.cache
def warn_once(message: str) -> None:
    """`warn`, the first time in this process, unless it is `told_elsewhere`."""
    if not told_elsewhere:
        warn(message)
