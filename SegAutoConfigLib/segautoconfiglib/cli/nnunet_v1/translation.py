"""From nnU-Net v1's words to v2's: names of tasks, trainers, plans, checkpoints; and running the v2 command."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.words import command
from segautoconfiglib.base.workspace import dataset_id
from segautoconfiglib.cli.nnunet.names import load_command
from segautoconfiglib.cli.options import Parser
from segautoconfiglib.planning.choices import RECIPES

TASK = re.compile(r"Task(\d+)_(.+)")
V1_PLANS, V2_PLANS = "nnUNetPlansv2.1", "nnUNetPlans"
CHECKPOINTS = {
    "model_final_checkpoint": "checkpoint_final.pth",
    "model_best": "checkpoint_best.pth",
    "model_latest": "checkpoint_latest.pth",
}
CASCADE = "3d_cascade_fullres"

#: Parts of v1's trainer names that are said otherwise in v2; an empty text: nothing needs to be said.
TRAINER_WORDS = (
    (r"CascadeFullRes", ""),
    (r"BraTSRegions", ""),  # regions are part of dataset.json
    (r"D?DP", ""),
    (r"fp(16|32)", ""),
    (r"noMirroring", "NoMirroring"),
    (r"noDataAugmentation", "NoDA"),
    (r"(insaneDA|DA[2-5])", "DA5"),
    (r"noDeepSupervision", "NoDeepSupervision"),
    (r"Loss_CE(GDL)?", "CELoss"),
    (r"Loss_DiceTopK10", "DiceTopK10Loss"),
    (r"Loss_DiceCE_noSmooth", "DiceCELoss_noSmooth"),
    (r"Loss_TopK10", "Topk10Loss"),
    (r"Loss_Dice", "DiceLoss"),
    (r"Adam_(?:nnUNetTrainer)?lr_?3en4", "Adam3en4"),
    (r"(?:SGD_)?lr_?(\d)en(\d)", r"lr\1e-\2"),
    (r"momentum0(\d+)", r"momentum0.\1"),
)


def v2_trainer(name: str) -> str:
    """The v2 name of a v1 trainer (``nnUNetTrainerV2_noMirroring``: ``nnUNetTrainer_NoMirroring``); v2's stay.

    A plug-in's trainer keeps its name; only the words behind it are translated. Words that v2 does not have are kept,
    so that training names them when it refuses them.
    """
    own = max((known for known in RECIPES if f"{name}_".startswith(f"{known}_")), key=len, default="")
    match = re.fullmatch(rf"{re.escape(own) or 'nnUNetTrainer'}(V2)?(.*)", name)
    if match is None or not (own or match[1] or match[2] in ("CascadeFullRes", "")):
        return name
    rest, words = match[2], []
    while rest:
        rest = rest.removeprefix("_")
        pattern, word = next(((p, w) for p, w in TRAINER_WORDS if re.match(rf"{p}(?=_|$)", rest)), (r"[^_]+", None))
        found = re.match(pattern, rest)
        if found is None:
            break
        words.append(found[0] if word is None else found.expand(word))
        rest = rest[found.end() :]
    return "_".join([own or "nnUNetTrainer", *filter(None, words)])


def v2_plans(identifier: str) -> str:
    """The v2 name of v1's plans."""
    return identifier.replace(V1_PLANS, V2_PLANS)


def names_of_model(
    context: Context, dataset: str, trainer: str, plans: str, configuration: str = "*"
) -> tuple[str, str]:
    """Trainer and plans in the name of a model's folder: v1's own for imported models, else v2's."""
    if any((context.workspace.results / dataset).glob(f"{trainer}__{plans}__{configuration}")):
        return trainer, plans
    return v2_trainer(trainer), v2_plans(plans)


def v2_checkpoint(name: str) -> str:
    """The v2 name of v1's checkpoints; others stay."""
    return CHECKPOINTS.get(name, name)


def dataset_of(context: Context, task: str, *, convert: bool = False) -> str:
    """The dataset that stands for a v1 task.

    Args:
        context: Its workspace has the dataset, or the task beside it.
        task: ``TaskXXX_Name``, or the number.
        convert: Make a dataset of a task in v1's raw folder, where there is none yet.

    Raises:
        UserError: there is neither; or only the task, and ``convert`` is off.
    """
    match = TASK.fullmatch(task)
    number = int(match[1]) if match else int(task) if task.isdecimal() else None
    if number is None:
        return context.workspace.dataset_name(task)
    found = [name for name in context.workspace.dataset_names() if dataset_id(name) == number]
    if match:
        found = [name for name in found if name == _name(match)]
    if found:
        return context.workspace.dataset_name(found[0] if match else number)
    folder = _task_folder(context.workspace.v1_tasks, task, number)
    if folder is None:
        raise UserError(
            f"There is neither a dataset {number} nor a task {task} in {context.workspace.v1_tasks}.",
            f"Datasets: {', '.join(context.workspace.dataset_names()) or 'none'}.",
        )
    name = _name(TASK.fullmatch(folder.name))
    if not convert:
        raise UserError(
            f"{folder} is a task of nnU-Net v1 and has not been prepared yet.",
            f"Run {command('nnUNet_plan_and_preprocess', '-t', number)}, or {command('convert-v1', folder)}.",
        )
    run_as("nnUNetv2_convert_old_nnUNet_dataset", [str(folder), name], context)
    return name


def _name(match: re.Match[str] | None) -> str:
    assert match is not None
    return f"Dataset{int(match[1]):03d}_{match[2]}"


def _task_folder(root: Path, task: str, number: int) -> Path | None:
    """The folder of a task, by its full name or its number. Raises: UserError: two have the number."""
    folders = sorted(root.glob("Task*_*")) if root.is_dir() else []
    found = [folder for folder in folders if (match := TASK.fullmatch(folder.name)) and int(match[1]) == number]
    if TASK.fullmatch(task):
        found = [folder for folder in found if folder.name == task]
    if len(found) > 1:
        raise UserError(
            f"Task {number} is there twice: {', '.join(folder.name for folder in found)}.", "Give the full name."
        )
    return found[0] if found else None


def words_of(options: Mapping[str, Any]) -> list[str]:
    """Words of a command line: ``{"-f": [0, 1], "--npz": True, "-o": None}`` is ``-f 0 1 --npz``."""
    words: list[str] = []
    for name, value in options.items():
        if value is None or value is False:
            continue
        values = [] if value is True else value if isinstance(value, (list, tuple)) else [value]
        words += [name, *map(str, values)]
    return words


def run_as(name: str, words: Sequence[str], context: Context) -> None:
    """Run a v2 command with these words, and say so."""
    context.report("log", message=f"As in nnU-Net v2: {name} {' '.join(words)}")
    command = load_command(name)
    parser = Parser(prog=name)
    command.add_arguments(parser)
    command.run(parser.parse_args(list(words)), context)
