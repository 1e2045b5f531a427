"""Errors that a person can act on: what is wrong, where, and what to do."""

from __future__ import annotations

from dataclasses import dataclass

EXIT_OK = 0
EXIT_BUG = 1
EXIT_USER = 2
EXIT_CANCELLED = 130


class UserError(Exception):
    """Something in the input or the environment that the user can change.

    Args:
        message: What is wrong, with the value, and where (file, case).
        hint: What to do about it.
    """

    exit_code = EXIT_USER

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def __reduce__(self) -> tuple:
        return type(self), (self.message, self.hint)


def naming(case: str, error: UserError) -> UserError:
    """The error with the case's name in front, unless it is there already."""
    place = f"Case {case}: "
    return error if error.message.startswith(place) else UserError(place + error.message, error.hint)


class Cancelled(Exception):  # noqa: N818 - not an error
    """The user asked to stop; everything finished so far is kept."""

    exit_code = EXIT_CANCELLED


@dataclass(frozen=True)
class Problem:
    """One finding of a check.

    Attributes:
        message: What is wrong, with the value.
        hint: What to do about it.
        file: The file concerned, or an empty string.
        case: The case concerned, or an empty string.
    """

    message: str
    hint: str = ""
    file: str = ""
    case: str = ""

    def __str__(self) -> str:
        file = "" if self.file in self.message else self.file
        place = ": ".join(part for part in (self.case, file) if part)
        return f"{place + ': ' if place else ''}{self.message} {self.hint}".strip()


class ProblemsError(UserError):
    """Several problems of one input, all collected before raising."""

    def __init__(self, message: str, problems: list[Problem], hint: str = "") -> None:
        super().__init__(message, hint)
        self.problems = problems

    def __str__(self) -> str:
        lines = [self.message, *(f"  - {problem}" for problem in self.problems), self.hint]
        return "\n".join(line for line in lines if line)

    def __reduce__(self) -> tuple:
        return type(self), (self.message, self.problems, self.hint)


def problem_list(error: UserError) -> list[dict[str, str]]:
    """The problems of an error, as events carry them; empty for errors that have none."""
    return [vars(problem) for problem in error.problems] if isinstance(error, ProblemsError) else []
