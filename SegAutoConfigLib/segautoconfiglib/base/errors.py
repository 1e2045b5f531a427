"""Errors that a person can act on: what is wrong, where, and what to do."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from segautoconfiglib.base.packages import FOR_TRAINING, distribution_of

EXIT_OK = 0
EXIT_BUG = 1
EXIT_USER = 2
EXIT_CANCELLED = 130

#: What a hint advises, for programs without a command line: every hint that names an option or a command has one, and
#: such a program says it in words of its own. "" = the hint names none and can be shown as it is.
Action = Literal[
    "",
    "add-anew",  # put the case into the dataset again, or let `repair` change its files
    "check-image",  # look for NaN and extreme values; or compute on the processor
    "choose-checkpoint",  # other folds or another checkpoint; or finish the training
    "continue-from-or-delete",  # keep the model by training on from it; or delete it
    "continue-from-or-overwrite",  # the same, where training over it gives it up
    "checksum",  # a download is damaged or was exchanged: once more
    "connection",  # the network; or a file that was fetched on another computer
    "cpu",  # compute on the processor
    "cuda",  # compute on the first GPU
    "fill-folds",  # add cases, or train other folds: one has none left
    "fold-all",  # add cases; or train on all
    "free-gpu",  # close programs that use the GPU; or compute on the processor
    "free-memory",  # close other programs, then start again: finished cases are kept
    "free-memory-or-check-case",  # the same; or the files of the case are at fault
    "free-memory-or-shrink",  # close other programs; or smaller patches and batches
    "free-memory-then-resume",  # close other programs, then resume the training
    "import-lower-stage",  # the model of a cascade's lower resolution, too
    "install",  # packages
    "install-cuda",  # torch for the GPU and its driver; or compute on the processor
    "more-time",  # start again with more: what was prepared is kept
    "more-time-or-fold-all",  # give more; or train on all cases, which needs no validation
    "more-time-or-overwrite",  # train once more, with the same time or more
    "name-dataset",  # say which dataset a model belongs to
    "plan",  # plan the dataset
    "length-for-cascade",  # a number of epochs in place of a time; or no cascade
    "plan-anew",  # the plans no longer fit the dataset
    "plugin",  # make the plug-in that has a part known
    "reorient",  # images whose voxel axes are stored in other directions than the others
    "replace-model",  # delete the model that is in the way
    "replace-weights",  # the same of weights of a task, which are in no list of models
    "resume-or-overwrite",  # go on with the training; or start it anew
    "resume-other",  # resume the training that is there, with its own options
    "resume-same-or-overwrite",  # resume as it was begun; or start anew
    "room",  # free space; or another workspace
    "task-mode",  # a resolution or size of models that the task has
    "task-weights",  # download a task's weights, or say where they are
    "train-lower-stage",  # of a cascade, all folds, before it
    "workspace",  # another one; or its permissions
]


class UserError(Exception):
    """Something in the input or the environment that the user can change.

    Args:
        message: What is wrong, with the value, and where (file, case).
        hint: What to do about it, for people who type commands.
        action: The same for other programs.
    """

    exit_code = EXIT_USER

    def __init__(self, message: str, hint: str = "", action: Action = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.action: Action = action

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def __reduce__(self) -> tuple:
        return type(self), (self.message, self.hint, self.action)


def reworded(error: UserError, message: str) -> UserError:
    """A new error with the same problems and advice; it does not keep alive what the first one's traceback does."""
    if isinstance(error, ProblemsError):
        return ProblemsError(message, error.problems, error.hint)
    return UserError(message, error.hint, error.action)


def naming(case: str, error: UserError) -> UserError:
    """The error with the case's name in front, unless it is there already."""
    place = f"Case {case}: "
    return error if error.message.startswith(place) else reworded(error, place + error.message)


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
        action: The hint for programs.
    """

    message: str
    hint: str = ""
    file: str = ""
    case: str = ""
    action: Action = ""

    @classmethod
    def of(cls, error: UserError, file: str = "", case: str = "") -> Problem:
        """What an error says, as a finding."""
        return cls(error.message, error.hint, file, case, error.action)

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


def merged(errors: Sequence[UserError], message: str) -> UserError:
    """What several errors say as one, under this message; the first of them if all say the same."""
    if len({str(error) for error in errors}) == 1:
        return errors[0]
    problems = [
        problem
        for error in errors
        for problem in (error.problems if isinstance(error, ProblemsError) else [Problem.of(error)])
    ]
    return ProblemsError(message, problems)


def as_user_error(error: Exception) -> UserError | None:
    """Failures of the environment that reach the end of a process: files, disk, memory, a missing package.

    Returns:
        None for any other error.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return _file_error(error, error.filename or "a file")
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return UserError(
            f"The memory ran out: {error}.",
            "Use fewer workers, a smaller batch or patch size, or --device cpu.",
            "free-memory-or-shrink",
        )
    package = distribution_of(error.name) if isinstance(error, ModuleNotFoundError) else None
    if package is not None:
        extra = "[train]" if package in FOR_TRAINING else ""
        return UserError(
            f"The package {package!r} is needed for this command and is not installed.",
            f'Install it with: pip install "segautoconfiglib{extra}"',
            "install",
        )
    return None


def _file_error(error: OSError, place: str) -> UserError:
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return UserError(f"The disk is full while writing {place}.", "Free some space and start again to continue.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UserError(
            f"No permission: {place}.", "Choose another --workspace or change the permissions.", "workspace"
        )
    return UserError(f"Can't use {place}: {error.strerror}.", "Check the path, and that the disk is still there.")
