"""Numbers and names of things, as people say them."""

from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """For example "1 case" or "3 cases"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def named(names: Sequence[object], noun: str) -> str:
    """For example "no folds", "fold 0" or "folds 0, 1"."""
    if not names:
        return f"no {noun}s"
    return f"{noun}{'' if len(names) == 1 else 's'} {', '.join(map(str, names))}"
