"""What is shown to the user when something can't be done."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from SegAutoConfigGui.Jobs.Hints import hintOf
from segautoconfiglib.base.errors import UserError, problem_list


@dataclass(frozen=True)
class Problem:
    """One thing that keeps something from being done.

    Attributes:
        message: What is wrong, with the value.
        hint: What to do about it.
        details: For those who want to know more: the end of a log, a path. Shown on demand.
        case: The case concerned, or an empty string.
    """

    message: str
    hint: str = ""
    details: str = ""
    case: str = ""

    def __str__(self) -> str:
        place = f"{self.case}: " if self.case else ""
        return f"{place}{self.message} {self.hint}".strip()


class UserProblem(Exception):
    """Raised where something can't be done; carries what is shown.

    Args:
        problem: A Problem, several of them, or the text of its message.
        hint: What to do, where ``problem`` is a text.
        details: More, where ``problem`` is a text.

    Attributes:
        problems: One Problem or more.
    """

    def __init__(self, problem: "Problem | Iterable[Problem] | str", hint: str = "", details: str = "") -> None:
        if isinstance(problem, str):
            problem = Problem(problem, hint, details)
        self.problems: list[Problem] = [problem] if isinstance(problem, Problem) else list(problem)
        super().__init__("\n".join(map(str, self.problems)))

    @property
    def problem(self) -> Problem:
        """The first one."""
        return self.problems[0]


class Cancelled(Exception):
    """Raised where the user did not want it any more; everything is as it was."""


def problemsOfError(error: UserError) -> list[Problem]:
    """What an error of the engine says, for the user."""
    return problemsOfEvent({**vars(error), "problems": problem_list(error)})


def problemsOfEvent(data: Mapping[str, Any], details: str = "") -> list[Problem]:
    """What an "error" or "warning" event says: its findings one by one where it has some, else its message.

    Hints are in words of the panels.

    Args:
        data: Of the event.
        details: Are put into the first one.
    """
    message, hint = str(data.get("message") or ""), hintOf(data)
    problems = data.get("problems")
    findings = [one for one in problems if isinstance(one, Mapping)] if isinstance(problems, list) else []
    if not findings:
        return [Problem(message, hint, details)]
    problems = [_problemOfFinding(finding) for finding in findings]
    heading = "\n".join(part for part in (f"{message} {hint}".strip(), problems[0].details, details) if part)
    return [Problem(problems[0].message, problems[0].hint, heading, problems[0].case), *problems[1:]]


def _problemOfFinding(finding: Mapping[str, Any]) -> Problem:
    message, file, case = (str(finding.get(key) or "") for key in ("message", "file", "case"))
    return Problem(message, hintOf(finding), file, case)
