"""Numbers, names and commands, as people say and type them."""

import difflib
import re
import shlex
from collections.abc import Sequence

#: What stands before a command on the command line.
PROGRAM = "python -m segautoconfiglib"
#: A command in a message or hint; see `command`.
COMMAND = re.compile(rf"`({re.escape(PROGRAM)} [^`\n]+)`")


def counted(number: int, noun: str) -> str:
    """For example "1 case" or "3 cases"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def named(names: Sequence[object], noun: str) -> str:
    """For example "no folds", "fold 0" or "folds 0, 1"."""
    if not names:
        return f"no {noun}s"
    return f"{noun}{'' if len(names) == 1 else 's'} {', '.join(map(str, names))}"


def first_of(names: Sequence[object], most: int) -> str:
    """For example "a, b", or "a, b ..." where there are more than `most`."""
    return ", ".join(map(str, names[:most])) + (" ..." if len(names) > most else "")


def near_names(names: Sequence[str], known: Sequence[str], most: int = 3) -> str:
    """For example "Near: liver, liver_vessels."; of each name at most so many. Empty where none is near."""
    near = dict.fromkeys(match for name in names for match in difflib.get_close_matches(name, known, most))
    return f"Near: {', '.join(near)}." if near else ""


def command(*words: object) -> str:
    """A command for messages and hints, to be copied: "`python -m segautoconfiglib train 4 --fold 0`".

    Terminals add the options that the user gave and it needs, too (``--workspace``).
    """
    return f"`{PROGRAM} {shlex.join(map(str, words))}`"
