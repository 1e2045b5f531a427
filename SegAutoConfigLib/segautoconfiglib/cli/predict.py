"""``predict``: segment the images of a folder with a trained model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.words import counted
from segautoconfiglib.cli.options import add_device, fold, positive, whole_number

if TYPE_CHECKING:
    from segautoconfiglib.inference.run import PredictOptions
    from segautoconfiglib.models.folder import ModelFolder

EPILOG = """examples:
  predict -d 4 -i imagesTs -o out              the model of dataset 4, all its folds
  predict -d 4 -f all -i IN -o OUT --device cpu
  predict --model FOLDER -i IN -o OUT          a model folder trainer__plans__configuration
  predict --choice 4 -i IN -o OUT              as find-best has found: members, mean, postprocessing"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Input, output, model and options."""
    add_files(parser)
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--dataset", "-d", metavar="DATASET", help="the dataset that the model was trained on")
    model.add_argument("--model", "-m", type=Path, metavar="FOLDER", help="a model folder")
    model.add_argument(
        "--choice", metavar="FILE|DATASET", help="the file of find-best (inference_information.json), or its dataset"
    )
    parser.add_argument(
        "--configuration", "-c", metavar="NAME", help="2d, 3d_fullres, ... (default: the model trained last)"
    )
    parser.add_argument("--plans", "-p", metavar="NAME", help="of the model (default: the one trained last)")
    parser.add_argument("--trainer", "-tr", metavar="NAME", help="of the model (default: the one trained last)")
    parser.add_argument(
        "--folds", "--fold", "-f", nargs="+", type=fold, metavar="FOLD",
        help="0 to 4, several are averaged, or all (default: every fold of the splits that was trained, else all)",
    )  # fmt: skip
    add_options(parser)


def add_files(parser: argparse.ArgumentParser) -> None:
    """``-i`` and ``-o``."""
    parser.add_argument(
        "-i",
        "--input",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="images, named <case>_0000.nii.gz; or folders of DICOM files, or one such folder",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="where segmentations go")


def add_options(parser: argparse.ArgumentParser) -> None:
    """How to predict, shared with nnU-Net's commands."""
    parser.set_defaults(choice=None)
    parser.add_argument(
        "-step_size", "--step-size", type=float, default=0.5, metavar="SHARE",
        help="distance of tiles as a share of the patch; larger is faster and less exact (default: 0.5)",
    )  # fmt: skip
    parser.add_argument(
        "--disable_tta", "--no-mirroring", action="store_true", help="faster: do not average over mirrored images"
    )
    parser.add_argument(
        "--save_probabilities", "--probabilities", action="store_true", help="also write <case>.npz and .pkl"
    )
    parser.add_argument(
        "--continue_prediction", "--continue", "--c", action="store_true", help="leave out cases that are there already"
    )
    parser.add_argument(
        "-chk", "--checkpoint", default="checkpoint_final.pth", metavar="FILE",
        help="which checkpoint of each fold, checkpoint_best.pth for example (default: checkpoint_final.pth)",
    )  # fmt: skip
    parser.add_argument(
        "-num_parts", "--num-parts", type=positive, default=1, metavar="N", help="split the cases among N runs ..."
    )
    parser.add_argument(
        "-part_id",
        "--part-id",
        type=whole_number,
        default=0,
        metavar="K",
        help="... of which this is number K (from 0)",
    )
    parser.add_argument(
        "--file-ending", metavar="ENDING",
        help="of the images and of the segmentations, .nrrd for example (default: that of the model's training cases)",
    )  # fmt: skip
    parser.add_argument(
        "--probability-images", action="store_true",
        help="also write <case>_probability_<label value>: images from 0 to 1, one for each structure",
    )  # fmt: skip
    parser.add_argument(
        "--uncertainty-image", action="store_true",
        help="also write <case>_uncertainty: 0 where the network is certain, 1 where all structures are equally likely",
    )  # fmt: skip
    parser.add_argument(
        "-prev_stage_predictions", "--previous-stage", type=Path, metavar="FOLDER",
        help="for a cascade: segmentations by its previous stage (default: that stage is run first)",
    )  # fmt: skip
    add_device(parser)
    parser.add_argument(
        "-npp", "--workers", type=whole_number, metavar="N",
        help="0: read each image only when its turn comes (default: the next one meanwhile, if the memory suffices)",
    )  # fmt: skip


def model_folder(arguments: argparse.Namespace, context: Context) -> Path:
    """The model folder that was named, else the one of the dataset that fits the other arguments."""
    from segautoconfiglib import pipeline
    from segautoconfiglib.models.folder import fitting_models

    check_input(arguments)
    if arguments.model is not None:
        return Path(arguments.model)
    names = ("configuration", "trainer", "plans", "folds", "checkpoint")
    wishes = {name: getattr(arguments, name) for name in names}
    folder = pipeline.find_model(context, arguments.dataset, **wishes)
    _warn_of_others(fitting_models(context.workspace, arguments.dataset, **wishes), context)
    return folder


def check_input(arguments: argparse.Namespace) -> None:
    """Before anything is told about the model. Raises: UserError: there is no such folder."""
    if not arguments.input.is_dir():
        raise UserError(f"There is no folder {arguments.input}.", "Check the path behind -i.")


def _warn_of_others(models: Sequence[ModelFolder], context: Context) -> None:
    """models: All that fit what was asked for, the one that is used first."""
    if len(models) < 2:
        return
    parts = zip(("-tr", "-p", "-c"), zip(*(model.name_parts for model in models), strict=True), strict=True)
    options = [f"{option} NAME" for option, values in parts if len(set(values)) > 1]
    names = ", ".join(model.path.name for model in models)
    context.report(
        "warning",
        message=f"{counted(len(models), 'model')} fit: {names}. The first is used, because it was trained last.",
        hint=f"Choose with {', '.join(options)}, or --model FOLDER.",
    )


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Predict all cases of the input folder."""
    from segautoconfiglib import pipeline

    if arguments.choice is not None:
        check_input(arguments)
        _run_choice(arguments, context)
        return
    pipeline.predict(
        context,
        model_folder(arguments, context),
        arguments.input,
        arguments.output,
        folds=arguments.folds,
        checkpoint=arguments.checkpoint,
        device=arguments.device,
        options=_options(arguments),
    )


def _run_choice(arguments: argparse.Namespace, context: Context) -> None:
    from segautoconfiglib import pipeline

    names = ("configuration", "plans", "trainer", "folds", "previous_stage")
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(arguments, name) is not None]
    if given:
        raise UserError(
            f"--choice says by itself which models and folds are used, so {given[0]} has no meaning.",
            "Leave it out, or predict with one model (--dataset, --model).",
        )
    pipeline.predict_choice(
        context,
        pipeline.choice_file(context, arguments.choice),
        arguments.input,
        arguments.output,
        checkpoint=arguments.checkpoint,
        device=arguments.device,
        options=_options(arguments),
    )


def _options(arguments: argparse.Namespace) -> PredictOptions:
    from segautoconfiglib.inference.run import PredictOptions

    return PredictOptions(
        save_probabilities=arguments.save_probabilities,
        continue_=arguments.continue_prediction,
        part=arguments.part_id,
        parts=arguments.num_parts,
        mirror=not arguments.disable_tta,
        step=arguments.step_size,
        workers=arguments.workers,
        file_ending=arguments.file_ending,
        probability_images=arguments.probability_images,
        uncertainty_image=arguments.uncertainty_image,
        previous_predictions=arguments.previous_stage,
    )
