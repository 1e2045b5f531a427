"""nnU-Net v1's commands that segment images, average and compare segmentations."""

from __future__ import annotations

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import ProblemsError
from segautoconfiglib.cli.nnunet.command import Command
from segautoconfiglib.cli.nnunet_v1.translation import (
    CASCADE,
    V1_PLANS,
    dataset_of,
    names_of_model,
    run_as,
    v2_checkpoint,
    words_of,
)
from segautoconfiglib.cli.options import add_device, fold, positive, whole_number

#: Where v1 leaves what is postprocessed afterwards.
BEFORE_POSTPROCESSING = "not_postprocessed"
#: The stage before the cascade, and where v1 leaves what it predicts, in the output folder.
LOWER, LOWER_PREDICTIONS = "3d_lowres", "3d_lowres_predictions"


def predict_arguments(parser: argparse.ArgumentParser) -> None:
    """nnUNet_predict's flags."""
    parser.add_argument("-i", "--input_folder", type=Path, required=True, metavar="FOLDER", help="images")
    parser.add_argument("-o", "--output_folder", type=Path, required=True, metavar="FOLDER", help="for segmentations")
    parser.add_argument("-t", "--task_name", required=True, metavar="TASK", help="number or name")
    parser.add_argument(
        "-tr", "--trainer_class_name", default="nnUNetTrainerV2", metavar="NAME", help="default: nnUNetTrainerV2"
    )
    parser.add_argument(
        "-ctr", "--cascade_trainer_class_name", default="nnUNetTrainerV2CascadeFullRes", metavar="NAME",
        help="trainer of 3d_cascade_fullres (default: nnUNetTrainerV2CascadeFullRes)",
    )  # fmt: skip
    parser.add_argument("-m", "--model", default="3d_fullres", metavar="NAME", help="configuration")
    parser.add_argument("-p", "--plans_identifier", default=V1_PLANS, metavar="NAME", help="plans identifier")
    parser.add_argument(
        "-f", "--folds", nargs="+", type=_fold_or_none, metavar="FOLD", help="default: the trained ones"
    )
    parser.add_argument("-z", "--save_npz", action="store_true", help="save probabilities too")
    parser.add_argument(
        "-l", "--lowres_segmentations", metavar="FOLDER", help="of the lower stage (default: they are made)"
    )
    parser.add_argument("--part_id", type=whole_number, default=0, metavar="K", help="number of this part, from 0")
    parser.add_argument("--num_parts", type=positive, default=1, metavar="N", help="number of parts")
    parser.add_argument("--num_threads_preprocessing", type=whole_number, metavar="N", help="0: one after the other")
    parser.add_argument(
        "--num_threads_nifti_save", type=whole_number, metavar="N", help="accepted; export is fast here"
    )
    parser.add_argument("--disable_tta", action="store_true", help="faster: do not average over mirrored images")
    parser.add_argument("--overwrite_existing", action="store_true", help="make anew what is there already")
    parser.add_argument(
        "--mode", choices=("normal", "fast", "fastest"), default="normal",
        help="accepted; segmentations are always made the normal way, which is fast here",
    )  # fmt: skip
    parser.add_argument("--all_in_gpu", metavar="BOOL", help="accepted; sums are kept where they fit")
    parser.add_argument(
        "--step_size", type=float, default=0.5, metavar="SHARE", help="distance of tiles (default: 0.5)"
    )
    parser.add_argument("-chk", default="model_final_checkpoint", metavar="NAME", help="which checkpoint of each fold")
    parser.add_argument("--disable_mixed_precision", action="store_true", help="accepted; sums are float32 anyway")
    add_device(parser)


def _fold_or_none(text: str) -> int | str | None:
    return None if text == "None" else fold(text)


def predict(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNet_predict."""
    cascade = arguments.model == CASCADE
    dataset = dataset_of(context, arguments.task_name)
    asked = arguments.cascade_trainer_class_name if cascade else arguments.trainer_class_name
    trainer, plans = names_of_model(context, dataset, asked, arguments.plans_identifier, arguments.model)
    lowres = None if arguments.lowres_segmentations in (None, "None") else arguments.lowres_segmentations
    if cascade and lowres is None:
        lowres = _lower_stage(arguments, dataset, context)
    words = {
        "-i": arguments.input_folder,
        "-o": arguments.output_folder,
        "-d": dataset,
        "-c": arguments.model,
        "-p": plans,
        "-tr": trainer,
        "-f": [part for part in arguments.folds or [] if part is not None] or None,
        "-step_size": arguments.step_size,
        "--disable_tta": arguments.disable_tta,
        "--save_probabilities": arguments.save_npz,
        "--continue_prediction": not arguments.overwrite_existing,
        "-chk": v2_checkpoint(arguments.chk),
        "-npp": arguments.num_threads_preprocessing,
        "-prev_stage_predictions": lowres,
        "-num_parts": arguments.num_parts,
        "-part_id": arguments.part_id,
        "-device": None if arguments.device == "auto" else arguments.device,
    }
    failed: ProblemsError | None = None
    try:
        run_as("nnUNetv2_predict", words_of(words), context)
    except ProblemsError as error:  # the other cases are predicted
        failed = error
    _postprocess(arguments, context.workspace.model_folder(dataset, trainer, plans, arguments.model), context)
    if failed is not None:
        raise failed


def _lower_stage(arguments: argparse.Namespace, dataset: str, context: Context) -> Path | None:
    """Segmentations by the lower stage of a cascade, made as by nnUNet_predict where it has a postprocessing.

    Returns:
        Their folder; None where the lower stage can run with the cascade itself.
    """
    from segautoconfiglib.models.folder import ModelFolder
    from segautoconfiglib.pipeline.postprocessing import model_postprocessing

    names = names_of_model(context, dataset, arguments.trainer_class_name, arguments.plans_identifier, LOWER)
    model = ModelFolder(context.workspace.model_folder(dataset, *names, LOWER))
    if model_postprocessing(model) is None:
        return None
    output = arguments.output_folder / LOWER_PREDICTIONS
    lower = {**vars(arguments), "model": LOWER, "output_folder": output, "save_npz": False}
    predict(argparse.Namespace(**lower), context)
    return output


def _postprocess(arguments: argparse.Namespace, model_folder: Path, context: Context) -> None:
    """Apply the postprocessing that was found for the model, as v1 does; what has it already stays the same."""
    from segautoconfiglib.inference.cases import usable_cases
    from segautoconfiglib.models.folder import ModelFolder
    from segautoconfiglib.pipeline.postprocessing import model_postprocessing, postprocess

    model = ModelFolder.open(model_folder)
    file = model_postprocessing(model)
    if file is None:
        return
    ending, output = model.description.file_ending, arguments.output_folder
    cases, _ = usable_cases(arguments.input_folder, ending, model.description.channels)
    mine = [case.id for case in cases][arguments.part_id :: arguments.num_parts]
    there = [case for case in mine if (output / f"{case}{ending}").is_file()]
    if there:
        context.report("log", message=f"Postprocessing of the model, as in nnU-Net v1: {file}.")
        postprocess(context, output, output, file, cases=there)


def ensemble_arguments(parser: argparse.ArgumentParser) -> None:
    """nnUNet_ensemble's flags."""
    parser.add_argument(
        "-f", "--folders", nargs="+", type=Path, required=True, metavar="FOLDER", help="predictions with probabilities"
    )
    parser.add_argument("-o", "--output_folder", type=Path, required=True, metavar="FOLDER", help="for segmentations")
    parser.add_argument("-t", "--threads", type=positive, metavar="N", help="processes")
    parser.add_argument(
        "-pp",
        "--postprocessing_file",
        type=Path,
        metavar="FILE",
        help="postprocessing.json or .pkl, applied afterwards",
    )
    parser.add_argument("--npz", action="store_true", help="save the mean probabilities too")


def ensemble(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNet_ensemble: with a postprocessing file, what was before lies in the folder not_postprocessed."""
    output: Path = arguments.output_folder
    merged = output if arguments.postprocessing_file is None else output / BEFORE_POSTPROCESSING
    words = {"-i": arguments.folders, "-o": merged, "-np": arguments.threads, "--save_npz": arguments.npz}
    run_as("nnUNetv2_ensemble", words_of(words), context)
    if arguments.postprocessing_file is not None:
        words = {"-i": merged, "-o": output, "-pp_pkl_file": arguments.postprocessing_file, "-np": arguments.threads}
        run_as("nnUNetv2_apply_postprocessing", words_of(words), context)


def evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    """nnUNet_evaluate_folder's flags."""
    parser.add_argument("-ref", type=Path, required=True, metavar="FOLDER", help="true segmentations")
    parser.add_argument("-pred", type=Path, required=True, metavar="FOLDER", help="predictions")
    parser.add_argument("-l", type=int, nargs="+", required=True, metavar="N", help="label values")


def evaluate(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNet_evaluate_folder."""
    labels = [label for label in arguments.l if label != 0]  # v1's users name the background, too
    words = [str(arguments.ref), str(arguments.pred), *words_of({"-l": labels})]
    run_as("nnUNetv2_evaluate_simple", words, context)


COMMANDS = {
    "nnUNet_predict": Command(predict_arguments, predict),
    "nnUNet_ensemble": Command(ensemble_arguments, ensemble),
    "nnUNet_evaluate_folder": Command(evaluate_arguments, evaluate),
}
