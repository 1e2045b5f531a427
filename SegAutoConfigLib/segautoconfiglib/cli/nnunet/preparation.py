"""nnU-Net v2's commands from a dataset to preprocessed cases."""

from __future__ import annotations

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.cli.nnunet.command import Command, add_ids, add_quiet
from segautoconfiglib.cli.options import add_planning, positive


def convert_arguments(parser: argparse.ArgumentParser) -> None:
    """-i, -overwrite_id, -np."""
    parser.add_argument("-i", type=Path, required=True, metavar="FOLDER", help="Decathlon folder TaskXX_Name")
    parser.add_argument("-overwrite_id", type=int, metavar="N", help="id of the new dataset")
    parser.add_argument("-np", type=positive, metavar="N", help="processes")


def convert(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNetv2_convert_MSD_dataset."""
    from segautoconfiglib import pipeline

    pipeline.convert_msd(context, arguments.i, dataset_id=arguments.overwrite_id, workers=arguments.np)


def convert_old_arguments(parser: argparse.ArgumentParser) -> None:
    """INPUT_FOLDER, OUTPUT_DATASET_NAME."""
    parser.add_argument("input_folder", type=Path, metavar="INPUT_FOLDER", help="task of nnU-Net v1, TaskXXX_Name")
    parser.add_argument("output_dataset_name", metavar="OUTPUT_DATASET_NAME", help="DatasetXXX_Name")


def convert_old(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNetv2_convert_old_nnUNet_dataset."""
    from segautoconfiglib import pipeline

    pipeline.convert_v1(context, arguments.input_folder, arguments.output_dataset_name)


def _fingerprint_options(parser: argparse.ArgumentParser, workers: str) -> None:
    parser.add_argument(
        "-fpe", default="DatasetFingerprintExtractor", metavar="NAME", help="accepted; there is only one"
    )
    parser.add_argument(workers, dest="np_fingerprint", type=positive, metavar="N", help="processes")
    parser.add_argument("--verify_dataset_integrity", action="store_true", help="check all files first")
    parser.add_argument("--clean", action="store_true", help="measure again even if it was done before")


def _fingerprints(arguments: argparse.Namespace, context: Context) -> None:
    from segautoconfiglib import pipeline

    if arguments.fpe != "DatasetFingerprintExtractor":
        raise UserError(f"Unknown fingerprint extractor {arguments.fpe!r}.", "Known: DatasetFingerprintExtractor.")
    for dataset in arguments.d:
        pipeline.fingerprint(
            context,
            dataset,
            overwrite=arguments.clean,
            check=arguments.verify_dataset_integrity,
            workers=arguments.np_fingerprint,
        )


def fingerprint_arguments(parser: argparse.ArgumentParser) -> None:
    """-d, -fpe, -np, --verify_dataset_integrity, --clean."""
    add_ids(parser)
    _fingerprint_options(parser, "-np")
    add_quiet(parser)


def _planner_options(parser: argparse.ArgumentParser) -> None:
    add_planning(parser)
    parser.add_argument(
        "-preprocessor_name", default="DefaultPreprocessor", metavar="NAME", help="accepted; there is only one"
    )


def plan_arguments(parser: argparse.ArgumentParser) -> None:
    """-d and the planner's options."""
    add_ids(parser)
    _planner_options(parser)


def plan(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNetv2_plan_experiment."""
    from segautoconfiglib import pipeline
    from segautoconfiglib.cli.plan import plan_options

    if arguments.preprocessor_name != "DefaultPreprocessor":
        raise UserError(f"Unknown preprocessor {arguments.preprocessor_name!r}.", "Known: DefaultPreprocessor.")
    for dataset in arguments.d:
        pipeline.plan(context, dataset, plan_options(arguments), check=False)


def _preprocess_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", nargs="+", default=["2d", "3d_fullres", "3d_lowres"], metavar="NAME", help="configurations"
    )
    parser.add_argument("-np", nargs="+", type=positive, metavar="N", help="processes, one number or one per -c")


def preprocess_arguments(parser: argparse.ArgumentParser) -> None:
    """-d, -plans_name, -c, -np."""
    add_ids(parser)
    parser.add_argument("-plans_name", default="nnUNetPlans", metavar="NAME", help="plans file, without .json")
    _preprocess_options(parser)
    add_quiet(parser)


def preprocess(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNetv2_preprocess."""
    from segautoconfiglib import pipeline

    counts = arguments.np or [None]
    if len(counts) not in (1, len(arguments.c)):
        raise UserError(
            f"-np has {len(counts)} numbers for {len(arguments.c)} configurations.", "Give one, or one for each."
        )
    for dataset in arguments.d:
        for index, configuration in enumerate(arguments.c):
            pipeline.preprocess(
                context,
                dataset,
                arguments.plans_name,
                [configuration],
                workers=counts[index % len(counts)],
                skip_unplanned=True,
            )


def plan_and_preprocess_arguments(parser: argparse.ArgumentParser) -> None:
    """The three commands' options."""
    add_ids(parser)
    _fingerprint_options(parser, "-npfp")
    parser.add_argument("--no_pp", action="store_true", help="only fingerprint and plan")
    _planner_options(parser)
    _preprocess_options(parser)
    add_quiet(parser)


def plan_and_preprocess(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNetv2_plan_and_preprocess."""
    from segautoconfiglib.planning.presets import planner_preset

    _fingerprints(arguments, context)
    plan(arguments, context)
    if not arguments.no_pp:
        arguments.plans_name = arguments.overwrite_plans_name or planner_preset(arguments.planner).plans_name
        preprocess(arguments, context)


COMMANDS = {
    "nnUNetv2_convert_MSD_dataset": Command(convert_arguments, convert),
    "nnUNetv2_convert_old_nnUNet_dataset": Command(convert_old_arguments, convert_old),
    "nnUNetv2_extract_fingerprint": Command(fingerprint_arguments, _fingerprints),
    "nnUNetv2_plan_experiment": Command(plan_arguments, plan),
    "nnUNetv2_preprocess": Command(preprocess_arguments, preprocess),
    "nnUNetv2_plan_and_preprocess": Command(plan_and_preprocess_arguments, plan_and_preprocess),
}
