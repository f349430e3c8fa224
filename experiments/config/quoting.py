"""Quotes that hydra needs around a text on the command line: a path with `=` or with letters that are not English."""

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

SPECIAL = set("[]{},'\"\\$~")  # a text with one of them may be meant as a list, a sweep or a reference


def quoted(parser: OverridesParser, line: str) -> str:
    """A line of the command line, its value in quotes where hydra reads it only so.

    ValueError says how to write a value that hydra cannot read and that may be no plain text.
    """
    try:
        parser.parse_override(line)
    except HydraException as error:
        key, assigned, value = line.partition("=")
        if not assigned or not key:
            raise
        if set(value) & SPECIAL:
            raise ValueError(f"{key} cannot be read from {value!r} ({str(error).splitlines()[0]}): within the shell's "
                             f"quotes a text needs its own, as in \"{key}='a, b'\"") from None
        return f"{key}='{value}'"
    return line
