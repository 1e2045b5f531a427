"""nnU-Net v1's commands from a task to preprocessed cases, and pictures of them."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.workspace import DATASET_NAME
from segautoconfiglib.cli.nnunet.command import Command
from segautoconfiglib.cli.nnunet_v1.translation import V2_PLANS, dataset_of, run_as, v2_plans, words_of
from segautoconfiglib.cli.options import positive, whole_number

PLANNER_3D, PLANNER_2D = "ExperimentPlanner3D_v21", "ExperimentPlanner2D_v21"
PRETRAINED = "ExperimentPlanner3D_v21_Pretrained"


def convert_arguments(parser: argparse.ArgumentParser) -> None:
    """-i, -p, -output_task_id."""
    parser.add_argument("-i", type=Path, required=True, metavar="FOLDER", help="Decathlon folder TaskXX_Name")
    parser.add_argument("-p", type=positive, metavar="N", help="processes")
    parser.add_argument("-output_task_id", type=int, metavar="N", help="number of the new dataset")


def convert(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNet_convert_decathlon_task."""
    words = words_of({"-i": arguments.i, "-overwrite_id": arguments.output_task_id, "-np": arguments.p})
    run_as("nnUNetv2_convert_MSD_dataset", words, context)


def plan_arguments(parser: argparse.ArgumentParser) -> None:
    """nnUNet_plan_and_preprocess's flags."""
    parser.add_argument("-t", "--task_ids", nargs="+", required=True, metavar="TASK", help="numbers or names of tasks")
    parser.add_argument("-pl3d", "--planner3d", default=PLANNER_3D, metavar="NAME", help="None: no 3D configurations")
    parser.add_argument("-pl2d", "--planner2d", default=PLANNER_2D, metavar="NAME", help="None: no 2D configuration")
    parser.add_argument("-no_pp", action="store_true", help="only fingerprint and plan")
    parser.add_argument("-tl", type=positive, metavar="N", help="processes for 3d_lowres")
    parser.add_argument("-tf", type=positive, metavar="N", help="processes for all others")
    parser.add_argument("--verify_dataset_integrity", action="store_true", help="check all files first")
    parser.add_argument("-overwrite_plans", type=Path, metavar="FILE", help="plans (.json) of another dataset to use")
    parser.add_argument("-overwrite_plans_identifier", metavar="NAME", help="name of those plans in this dataset")


def plan(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNet_plan_and_preprocess."""
    planner = _planner(arguments.planner3d)
    if arguments.overwrite_plans is not None:
        _check_plans(arguments)
    configurations = [
        name
        for name, wanted in (
            ("2d", arguments.planner2d),
            ("3d_fullres", arguments.planner3d),
            ("3d_lowres", arguments.planner3d),
        )
        if wanted != "None"
    ]
    if not configurations:
        raise UserError("-pl3d None and -pl2d None leave nothing to do.", "Leave one of them out.")
    datasets = [dataset_of(context, task, convert=True) for task in arguments.task_ids]
    processes = [arguments.tl if name == "3d_lowres" else arguments.tf for name in configurations]
    words = {
        "-d": datasets,
        "-npfp": arguments.tf,
        "--verify_dataset_integrity": arguments.verify_dataset_integrity,
        "--no_pp": arguments.no_pp or arguments.overwrite_plans is not None,
        **planner,
        "-c": configurations,
        "-np": processes if all(processes) else None,
    }
    run_as("nnUNetv2_plan_and_preprocess", words_of(words), context)
    if arguments.overwrite_plans is not None:
        for dataset in datasets:
            _use_plans(arguments, dataset, configurations, context)


def _planner(name: str) -> dict[str, Any]:
    """What v2's planning is told for a planner of v1. Raises: UserError: there is none like it."""
    if name in (PLANNER_3D, PRETRAINED, "ExperimentPlanner", "None"):
        return {}
    if memory := re.fullmatch(rf"{PLANNER_3D}_(\d+)GB", name):
        return {"-gpu_memory_target": memory[1], "-overwrite_plans_name": f"{V2_PLANS}_{memory[1]}GB"}
    if re.fullmatch(r"ExperimentPlanner3DFabiansResUNet(_v21)?", name):
        return {"-pl": "nnUNetPlannerResEncM"}
    if name.startswith(("ResEncUNetPlanner", "nnUNetPlanner")):
        return {"-pl": name}
    raise UserError(
        f"There is no planner like {name!r} here.",
        f"Known: {PLANNER_3D}, {PLANNER_3D}_11GB (and other sizes), ExperimentPlanner3DFabiansResUNet_v21, None.",
    )


def _check_plans(arguments: argparse.Namespace) -> None:
    """Raises: UserError: the plans to take over are none of v2, or have no name."""
    file: Path = arguments.overwrite_plans
    if not file.is_file():
        raise UserError(f"{file} does not exist.", "Check the path.")
    if file.suffix != ".json" or not DATASET_NAME.fullmatch(file.absolute().parent.name):
        raise UserError(
            f"{file} is no plans file of nnU-Net v2.",
            "Give nnUNet_preprocessed/DatasetXXX_Name/nnUNetPlans.json of the dataset that the weights come from; a "
            "model of v1 is imported first (import-model).",
        )
    if arguments.overwrite_plans_identifier is None:
        raise UserError("-overwrite_plans needs -overwrite_plans_identifier.", "Give the plans a name.")


def _use_plans(arguments: argparse.Namespace, dataset: str, configurations: list[str], context: Context) -> None:
    """Give a dataset the plans of another one and preprocess with them, under v1's name for that."""
    file: Path = arguments.overwrite_plans.absolute()
    name = f"{V2_PLANS}_pretrained_{v2_plans(arguments.overwrite_plans_identifier)}"
    move = {"-s": file.parent.name, "-t": dataset, "-sp": file.stem, "-tp": name}
    run_as("nnUNetv2_move_plans_between_datasets", words_of(move), context)
    if not arguments.no_pp:
        words = {"-d": dataset, "-plans_name": name, "-c": configurations}
        run_as("nnUNetv2_preprocess", words_of(words), context)


def pictures_arguments(parser: argparse.ArgumentParser) -> None:
    """nnUNet_plot_task_pngs's flags."""
    parser.add_argument("-t", "--task_name_or_id", required=True, metavar="TASK", help="number or name")
    parser.add_argument("-o", "--output_folder", type=Path, required=True, metavar="FOLDER", help="for the PNG files")
    parser.add_argument("-num_processes", type=positive, metavar="N", help="processes")
    parser.add_argument("-modality_idx", type=whole_number, default=0, metavar="N", help="channel (default: 0)")
    parser.add_argument("--use_raw", action="store_true", help="draw the raw images, not the preprocessed ones")


def pictures(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNet_plot_task_pngs."""
    words = {
        "-d": dataset_of(context, arguments.task_name_or_id),
        "-o": arguments.output_folder,
        "-np": arguments.num_processes,
        "-channel_idx": arguments.modality_idx,
        "--use_raw": arguments.use_raw,
    }
    run_as("nnUNetv2_plot_overlay_pngs", words_of(words), context)


COMMANDS = {
    "nnUNet_convert_decathlon_task": Command(convert_arguments, convert),
    "nnUNet_plan_and_preprocess": Command(plan_arguments, plan),
    "nnUNet_plot_task_pngs": Command(pictures_arguments, pictures),
}
