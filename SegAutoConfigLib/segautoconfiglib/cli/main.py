"""The command line: finds the command, sets up reporting and cancelling, turns errors into exit codes.

Only the module of the command that was asked for is imported, and a command imports its stage when it runs: help is
printed without numpy, SimpleITK or torch.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from segautoconfiglib import __version__
from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import (
    EXIT_BUG,
    EXIT_CANCELLED,
    EXIT_OK,
    Cancelled,
    UserError,
    as_user_error,
    problem_list,
)
from segautoconfiglib.base.packages import distribution_of
from segautoconfiglib.cli.nnunet.names import COMMANDS as V2_COMMANDS
from segautoconfiglib.cli.nnunet.names import load_command
from segautoconfiglib.cli.nnunet_v1.names import COMMANDS as V1_COMMANDS
from segautoconfiglib.cli.nnunet_v1.names import load_command as load_v1_command
from segautoconfiglib.cli.options import Parser, add_common
from segautoconfiglib.cli.several import ECHO_S, errors_only, place_among_others
from segautoconfiglib.cli.totalsegmentator.names import COMMANDS as TASK_COMMANDS
from segautoconfiglib.cli.totalsegmentator.names import load_command as load_task_command

if TYPE_CHECKING:
    from segautoconfiglib.base.cancel import CancelToken
    from segautoconfiglib.base.events import Reporter

PROGRAM = "segautoconfiglib"

#: Command name -> one line of help. The code of a command is the module of this package with the same name.
COMMANDS = {
    "demo": "make a small dataset, plan, train, predict and show the result, in about five minutes",
    "demo-data": "write the synthetic cases of the demo, to try things out with",
    "convert-msd": "turn a Medical Segmentation Decathlon folder into a raw dataset",
    "convert-v1": "turn a task of nnU-Net v1 (TaskXXX) into a raw dataset",
    "from-folder": "make a raw dataset of a folder of images and one of label maps",
    "from-masks": "make a raw dataset of images with one mask file per structure",
    "from-csv": "make a raw dataset of the files that a list names",
    "add-cases": "put images and segmentations into a raw dataset, new or existing",
    "remove-cases": "take cases out of a raw dataset; their files are kept",
    "split": "choose cases for testing, or folds of one's own; patients stay together",
    "repair": "put right what needs no decision in a raw dataset; the old files are kept",
    "verify": "check a raw dataset and list everything that is wrong with it",
    "fingerprint": "measure a dataset: shapes, spacings, intensities",
    "plan": "choose patch size, spacing, network and batch size",
    "preprocess": "crop, normalise and resample all cases",
    "move-plans": "give a dataset the plans of another one, for pre-training and fine-tuning",
    "train": "train a network; checks, measures, plans and preprocesses first where that was not done yet",
    "predict": "segment new images with a trained model",
    "cross-validation": "collect and evaluate the held-out cases of all folds of a model",
    "find-best": "find out which model, or pair of models, is best on the held-out cases, and its postprocessing",
    "ensemble": "segment with the mean of the probabilities in several folders",
    "find-postprocessing": "find out of which structures only the largest part should be kept",
    "postprocess": "keep only the largest part of structures, as was found before",
    "evaluate": "compare predicted with true segmentations",
    "overlays": "draw pictures of cases with their labels, or of predictions beside the truth",
    "info": "show datasets, plans and trained models",
    "export-model": "write a model to a zip file, which nnU-Net can install, too",
    "import-model": "put the models of a zip file, also of nnU-Net, into the workspace",
    "rename-model": "give a model another title",
    "delete-model": "remove a model",
    "doctor": "check this computer: Python, torch, GPU, memory, disk, folders",
}

#: nnU-Net's commands by name: the module that has them, and one line of help.
NNUNET_COMMANDS = {**V2_COMMANDS, **V1_COMMANDS}

#: How to continue a command that was stopped, where the same words alone do not.
CONTINUE_OPTIONS = {
    "train": "--resume",
    "predict": "--continue",
    "nnUNetv2_train": "--c",
    "nnUNetv2_predict": "--continue_prediction",
    "nnUNetv2_predict_from_modelfolder": "--continue_prediction",
    "nnUNet_train": "-c",
    "nnUNet_train_DP": "-c",
    "nnUNet_train_DDP": "-c",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (0 done, 1 bug, 2 user error, 130 stopped on request)."""
    _open_missing_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(overview())
        return EXIT_OK
    if words[0] == "--version":
        sys.stdout.write(f"{PROGRAM} {__version__}\n")
        return EXIT_OK
    try:
        command, parser = build_parser(words[0])
        arguments = parser.parse_args(words[1:])
    except (UserError, ModuleNotFoundError) as error:
        return run_command(words, _Refusal(error), _common_arguments(words))
    except SystemExit as end:  # the command's help was printed
        return int(end.code or EXIT_OK)
    return run_command(words, command, arguments)


class _Refusal:
    """Stands for a command whose words are wrong, or that can't be loaded: reported as any other failure."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def run(self, arguments: argparse.Namespace, context: Context) -> NoReturn:
        """Raise it."""
        raise self._error


def _common_arguments(words: Sequence[str]) -> argparse.Namespace:
    """The common options among words of which some are wrong."""
    parser = Parser(add_help=False)
    add_common(parser)
    try:
        return parser.parse_known_args(words)[0]
    except UserError:  # one of them is what is wrong
        return parser.parse_args([])


def _open_missing_streams() -> None:
    """Standard streams that are closed (``2>&-``, programs without a console) read and write nothing."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - until the process ends


def overview() -> str:
    """The text of ``--help``."""
    tables = (COMMANDS, V2_COMMANDS, V1_COMMANDS, TASK_COMMANDS)
    width, v2_width, v1_width, task_width = (max(map(len, names)) + 2 for names in tables)
    lines = [
        f"usage: python -m {PROGRAM} COMMAND [options]      (COMMAND --help shows the options)",
        "",
        "Self-configuring segmentation: from labelled volumes to a trained network and back.",
        "",
        "commands:",
        *(f"  {name:<{width}}{text}" for name, text in COMMANDS.items()),
        "",
        "nnU-Net v2's commands, with its flags:",
        *(f"  {name:<{v2_width}}{text}" for name, (_, text) in V2_COMMANDS.items()),
        "",
        "nnU-Net v1's commands, with its flags:",
        *(f"  {name:<{v1_width}}{text}" for name, (_, text) in V1_COMMANDS.items()),
        "",
        "TotalSegmentator's commands, with its flags:",
        *(f"  {name:<{task_width}}{text}" for name, (_, text) in TASK_COMMANDS.items()),
        "",
        "Datasets and models lie in a workspace: --workspace FOLDER, else nnU-Net's environment variables",
        "(nnUNet_raw, nnUNet_preprocessed, nnUNet_results), else ~/SegAutoConfig.",
    ]
    return "\n".join(lines) + "\n"


def build_parser(name: str) -> tuple[object, argparse.ArgumentParser]:
    """The command's module (or nnU-Net command) and its parser. Raises: UserError: unknown command."""
    if name in COMMANDS:
        command: object = import_module(f"segautoconfiglib.cli.{name.replace('-', '_')}")
        text = COMMANDS[name]
    elif name in V2_COMMANDS:
        command = load_command(name)
        text = f"nnU-Net v2's command with its flags: {V2_COMMANDS[name][1]}"
    elif name in V1_COMMANDS:
        command = load_v1_command(name)
        text = f"nnU-Net v1's command with its flags: {V1_COMMANDS[name][1]}"
    elif name in TASK_COMMANDS:
        command = load_task_command(name)
        text = f"TotalSegmentator's command with its flags: {TASK_COMMANDS[name][1]}"
    elif name.startswith("nnUNet"):
        raise UserError(
            f"{name} is not available here (yet).", f"Available: {', '.join(NNUNET_COMMANDS)}; see also --help."
        )
    elif name.startswith("-"):
        raise UserError(f"The command comes first, before {name}.", f"python -m {PROGRAM} COMMAND {name} ...")
    else:
        from difflib import get_close_matches

        close = get_close_matches(name, [*COMMANDS, *NNUNET_COMMANDS, *TASK_COMMANDS], n=1)
        guess = f" Did you mean {close[0]!r}?" if close else ""
        raise UserError(f"There is no command {name!r}.{guess}", f"Commands: {', '.join(COMMANDS)}.")
    parser = Parser(
        prog=f"python -m {PROGRAM} {name}",
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=getattr(command, "EPILOG", None),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)  # type: ignore[attr-defined]
    add_common(parser)
    return command, parser


def run_command(words: Sequence[str], command: object, arguments: argparse.Namespace) -> int:
    """Run a command inside the process boundary: every error becomes one message and an exit code."""
    from segautoconfiglib.base.cancel import CancelToken

    place = place_among_others(words[0])
    follower = place is not None and place.rank > 0
    report = errors_only(place) if place is not None and follower else _make_reporter(arguments)
    cancel = CancelToken()
    restore = cancel.install_signal_handlers(echo_s=0.0 if place is None else ECHO_S)
    if arguments.events == "jsonl" and not follower and not sys.stdin.isatty():
        cancel.listen(sys.stdin)
    try:
        if arguments.job is None or follower:
            return _run(words[0], command, arguments, report, cancel)
        return _run_as_job(words, command, arguments, report, cancel)
    finally:
        restore()
        close = getattr(report, "close", None)
        if close is not None:
            with suppress(OSError):
                close()


def _run_as_job(
    words: Sequence[str], command: object, arguments: argparse.Namespace, report: Reporter, cancel: CancelToken
) -> int:
    """Run a command whose events also go to the job's folder, whatever becomes of the normal output."""
    from segautoconfiglib.base.job import job_files

    try:
        with job_files(arguments.job, words, report=report, cancel=cancel) as log:

            def report_to_both(kind: str, **data: Any) -> None:
                log(kind, **data)
                with suppress(OSError):  # no disk space for it, or nobody reads it
                    report(kind, **data)

            return _run(words[0], command, arguments, report_to_both, cancel, log)
    except UserError as error:  # another run of the job, or a folder that can't be written
        return _report_failure(error, report)
    except (Cancelled, KeyboardInterrupt):
        return EXIT_CANCELLED


def _run(
    name: str,
    command: object,
    arguments: argparse.Namespace,
    report: Reporter,
    cancel: CancelToken,
    job_log: Reporter | None = None,
) -> int:
    """Run a command between its first and its last event.

    Args:
        name: Of the command.
        command: Has ``run(arguments, context)``.
        arguments: Its own and the common ones.
        report: Gets all events, but those about resources.
        cancel: Asks the command to stop.
        job_log: Gets events about resources.
    """
    from segautoconfiglib.base.plugins import plugged_in
    from segautoconfiglib.base.resources import watched_resources
    from segautoconfiglib.base.workspace import Workspace

    out = None if arguments.events == "jsonl" else sys.stdout
    code = EXIT_CANCELLED
    try:
        report("started", stage="command", command=name, pid=os.getpid(), engine_version=__version__)
        workspace = Workspace.find(arguments.workspace)
        with (
            watched_resources(job_log, workspace.results) if job_log else nullcontext(),
            plugged_in(arguments.plugin, workspace.plugins, report),
        ):
            command.run(arguments, Context(workspace, report, cancel, out))  # type: ignore[attr-defined]
            sys.stdout.flush()
        code = EXIT_OK
    except (Cancelled, KeyboardInterrupt):
        report("log", message=_stopped(name, command, arguments))
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:  # noqa: BLE001 - the process boundary
        return _report_failure(error, report)
    report("done", stage="command", cancelled=code == EXIT_CANCELLED, exit_code=code)
    return code


def _stopped(name: str, command: object, arguments: argparse.Namespace) -> str:
    if kept := getattr(command, "kept", ""):
        return f"Stopped. {kept}"
    if getattr(arguments, "disable_checkpointing", False):
        return "Stopped. Nothing of this training is kept (--disable_checkpointing)."
    option = CONTINUE_OPTIONS.get(name)
    again = f"with {option}" if option else "again"
    return f"Stopped. What was finished is kept; to continue, run the command {again}."


def _make_reporter(arguments: argparse.Namespace) -> Reporter:
    if arguments.events == "jsonl":
        from segautoconfiglib.base.events import JsonReporter

        return JsonReporter(sys.stdout)
    from segautoconfiglib.base.terminal import HumanReporter

    return HumanReporter(sys.stderr, _given(arguments), quiet=getattr(arguments, "quiet", False))


def _given(arguments: argparse.Namespace) -> list[str]:
    """Options of this command without which the next one, as messages advise it, would not do what they say."""
    workspace = [] if arguments.workspace is None else ["--workspace", str(arguments.workspace)]
    return [*workspace, *(word for file in arguments.plugin for word in ("--plugin", str(file)))]


def _report_failure(error: Exception, report: Reporter) -> int:
    known = error if isinstance(error, UserError) else as_user_error(error)
    missing = distribution_of(error.name) if isinstance(error, ModuleNotFoundError) else None
    if known is None:
        sys.stderr.write(traceback.format_exc())
        report(
            "error",
            message=f"This is a bug in {PROGRAM} {__version__}: {type(error).__name__}: {error}",
            hint="Please report it with the lines above.",
            exit_code=EXIT_BUG,
        )
        return EXIT_BUG
    report(
        "error",
        message=known.message,
        hint=known.hint,
        action=known.action,
        exit_code=known.exit_code,
        problems=problem_list(known),
        **({"missing": [missing]} if missing else {}),
    )
    return known.exit_code
