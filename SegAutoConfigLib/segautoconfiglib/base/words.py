"""Numbers, names and commands, as people say and type them."""

import re
import shlex
from collections.abc import Sequence
from difflib import SequenceMatcher

#: What stands before a command on the command line.
PROGRAM = "python -m segautoconfiglib"
#: How much of two names must be the same to be near, and letters of one that is near as a part of the other.
SIMILARITY, PART_LETTERS = 0.6, 3
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
    """For example "Near: liver, liver_vessels."; of each name at most so many. Empty where none is near.

    Near are similar names, whatever stands between their words, and those of which one holds the other or its words.
    """
    near = dict.fromkeys(match for name in names for match in _near(name, known)[:most])
    return f"Near: {', '.join(near)}." if near else ""


def _near(name: str, known: Sequence[str]) -> list[str]:
    """Those of the known names that are near, the most similar first."""
    word, shares = _letters(name), {}
    for other in known:
        share = SequenceMatcher(None, word, _letters(other)).ratio()
        if word and (share >= SIMILARITY or _holds(name, other)):
            shares[other] = share
    return sorted(shares, key=lambda other: -shares[other])


def _holds(name: str, other: str) -> bool:
    """Whether a known name has the words of another, or one of both holds the other or begins with its first word."""
    words, known = _words(name), _words(other)
    one, two = "".join(words), "".join(known)
    first = known[0] if known else ""
    pairs = ((one, two), (two, one), (first, one[: len(first)]))
    held = any(len(part) >= PART_LETTERS and part in whole for part, whole in pairs)
    return held or set(words) <= set(known)


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W_]+", name.casefold())


def _letters(name: str) -> str:
    return "".join(_words(name))


def command(*words: object) -> str:
    """A command for messages and hints, to be copied: "`python -m segautoconfiglib train 4 --fold 0`".

    Terminals add the options that the user gave and it needs, too (``--workspace``).
    """
    return f"`{PROGRAM} {shlex.join(map(str, words))}`"
