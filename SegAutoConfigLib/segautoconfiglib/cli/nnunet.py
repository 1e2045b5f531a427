"""nnU-Net v2's commands under their own names: same flags, same folders and files, plus our own options.

Flags that have no meaning here are accepted and say so. Worker counts (``-np``, ``-npp`` ...) are upper limits: fewer
processes run where the memory would not suffice.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.cli import evaluate as evaluate_command
from segautoconfiglib.cli import import_model as import_model_command
from segautoconfiglib.cli import predict as predict_command
from segautoconfiglib.cli.options import add_device, add_planning, add_workers, fold, positive, whole_number
from segautoconfiglib.cli.train import add_length, train_options
from segautoconfiglib.defaults import TRAINING


@dataclass(frozen=True)
class Command:
    """One command: its arguments and what it does."""

    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Context], None]


def _ids(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-d", nargs="+", required=True, metavar="DATASET", help="numbers or names of datasets")


def _quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--verbose", action="store_true", help="accepted; everything is reported anyway")
    parser.add_argument("--no_pbar", action="store_true", help="accepted; use --events jsonl for programs")


def convert_arguments(parser: argparse.ArgumentParser) -> None:
    """-i, -overwrite_id, -np."""
    parser.add_argument("-i", type=Path, required=True, metavar="FOLDER", help="Decathlon folder TaskXX_Name")
    parser.add_argument("-overwrite_id", type=int, metavar="N", help="id of the new dataset")
    parser.add_argument("-np", type=positive, metavar="N", help="processes")


def convert(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNetv2_convert_MSD_dataset."""
    from segautoconfiglib import pipeline

    pipeline.convert_msd(context, arguments.i, dataset_id=arguments.overwrite_id, workers=arguments.np)


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
    _ids(parser)
    _fingerprint_options(parser, "-np")
    _quiet(parser)


def _planner_options(parser: argparse.ArgumentParser) -> None:
    add_planning(parser)
    parser.add_argument(
        "-preprocessor_name", default="DefaultPreprocessor", metavar="NAME", help="accepted; there is only one"
    )


def plan_arguments(parser: argparse.ArgumentParser) -> None:
    """-d and the planner's options."""
    _ids(parser)
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
    _ids(parser)
    parser.add_argument("-plans_name", default="nnUNetPlans", metavar="NAME", help="plans file, without .json")
    _preprocess_options(parser)
    _quiet(parser)


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
    _ids(parser)
    _fingerprint_options(parser, "-npfp")
    parser.add_argument("--no_pp", action="store_true", help="only fingerprint and plan")
    _planner_options(parser)
    _preprocess_options(parser)
    _quiet(parser)


def plan_and_preprocess(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNetv2_plan_and_preprocess."""
    from segautoconfiglib.planning.presets import planner_preset

    _fingerprints(arguments, context)
    plan(arguments, context)
    if not arguments.no_pp:
        arguments.plans_name = arguments.overwrite_plans_name or planner_preset(arguments.planner).plans_name
        preprocess(arguments, context)


def train_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET CONFIGURATION FOLD and nnU-Net's flags."""
    parser.add_argument("dataset", metavar="DATASET", help="number or name")
    parser.add_argument("configuration", metavar="CONFIGURATION", help="2d or 3d_fullres")
    parser.add_argument("fold", type=fold, metavar="FOLD", help="0 to 4, or all")
    parser.add_argument("-tr", dest="trainer", default="nnUNetTrainer", metavar="NAME", help="training recipe")
    parser.add_argument("-p", dest="plans", default="nnUNetPlans", metavar="NAME", help="plans file, without .json")
    parser.add_argument("-pretrained_weights", type=Path, metavar="FILE", help="start from this checkpoint")
    parser.add_argument("-num_gpus", type=positive, default=1, metavar="N", help="only 1 so far")
    parser.add_argument("--npz", action="store_true", help="save the probabilities of the held-out cases too")
    parser.add_argument("--c", "--resume", dest="resume", action="store_true", help="continue where this fold stopped")
    parser.add_argument("--overwrite", action="store_true", help="discard what this fold has and start anew")
    parser.add_argument("--val", action="store_true", help="only predict and evaluate the held-out cases")
    parser.add_argument(
        "--val_best", action="store_true", help="validate with checkpoint_best.pth too, into validation_best"
    )
    parser.add_argument(
        "--disable_checkpointing", action="store_true", help="keep nothing: no checkpoints, so no validation either"
    )
    add_length(parser)
    add_device(parser)
    add_workers(parser)


def train(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNetv2_train."""
    from segautoconfiglib import pipeline
    from segautoconfiglib.cli.tables import print_evaluation

    if arguments.num_gpus > 1:
        raise UserError("Training on several GPUs is not available yet.", "Use -num_gpus 1.")
    if arguments.disable_checkpointing and (arguments.val or arguments.val_best):
        raise UserError(
            "--disable_checkpointing leaves nothing that --val or --val_best could validate.", "Leave one of them out."
        )
    options = replace(
        train_options(arguments), save_probabilities=arguments.npz, checkpoints=not arguments.disable_checkpointing
    )
    if arguments.val and arguments.resume:
        raise UserError("--val and --c exclude each other.", "--val only validates; --c trains on and then validates.")
    summary = None if arguments.val else pipeline.train(context, arguments.dataset, options)
    if arguments.val or arguments.val_best:
        checkpoint = "checkpoint_best.pth" if arguments.val_best else "checkpoint_final.pth"
        summary = pipeline.validate(context, arguments.dataset, options, checkpoint=checkpoint)
    if context.out and summary is not None:
        print_evaluation(summary, context.out)


def _prediction_flags(parser: argparse.ArgumentParser) -> None:
    predict_command.add_files(parser)
    predict_command.add_options(parser)
    parser.add_argument(
        "-f", dest="folds", nargs="+", type=fold, metavar="FOLD", help="default: those of 0 1 2 3 4 that were trained"
    )
    parser.add_argument(
        "-nps", type=whole_number, metavar="N", help="accepted; export needs little time and memory here"
    )
    parser.add_argument("-prev_stage_predictions", type=Path, metavar="FOLDER", help="for 3d_cascade_fullres")
    parser.add_argument("--verbose", action="store_true", help="accepted; everything is reported anyway")
    parser.add_argument("--disable_progress_bar", action="store_true", help="accepted; use --events jsonl for programs")
    parser.add_argument("--not_on_device", action="store_true", help="accepted; sums are kept where they fit")


def predict_arguments(parser: argparse.ArgumentParser) -> None:
    """nnUNetv2_predict's flags."""
    parser.add_argument("-d", dest="dataset", required=True, metavar="DATASET", help="number or name")
    parser.add_argument("-c", dest="configuration", required=True, metavar="NAME", help="2d or 3d_fullres")
    parser.add_argument("-p", dest="plans", default="nnUNetPlans", metavar="NAME", help="plans file, without .json")
    parser.add_argument("-tr", dest="trainer", default="nnUNetTrainer", metavar="NAME", help="trainer name")
    parser.set_defaults(model=None)
    _prediction_flags(parser)


def predict_from_folder_arguments(parser: argparse.ArgumentParser) -> None:
    """nnUNetv2_predict_from_modelfolder's flags."""
    parser.add_argument("-m", dest="model", type=Path, required=True, metavar="FOLDER", help="a model folder")
    _prediction_flags(parser)


def predict(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNetv2_predict and nnUNetv2_predict_from_modelfolder."""
    if arguments.prev_stage_predictions is not None:
        raise UserError("Cascades are not available yet.", "Leave out -prev_stage_predictions.")
    arguments.model = predict_command.model_folder(arguments, context)
    if arguments.folds is None:
        arguments.folds = _usual_folds(arguments.model, arguments.checkpoint, context)
    predict_command.run(arguments, context)


def _usual_folds(model: Path, checkpoint: str, context: Context) -> list[int | str]:
    """The folds that nnU-Net predicts with unless told otherwise, as far as they were trained; says which are not."""
    from segautoconfiglib.models.folder import ModelFolder

    found = ModelFolder.open(model).chosen_folds(None, checkpoint)
    usual = range(TRAINING.folds)
    missing = [number for number in usual if number not in found]
    chosen = [number for number in found if number in usual] or found
    if missing:
        context.report(
            "warning",
            message=f"Predicting with fold(s) {_text(chosen)} of {model.name}: {_text(missing)} have no {checkpoint}.",
            hint=f"Train them too, or write -f {_text(chosen, ' ')} if this is meant.",
        )
    return chosen


def _text(folds: Sequence[int | str], separator: str = ", ") -> str:
    return separator.join(map(str, folds))


def _evaluation_flags(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(dataset_json=None, labels=None, ignore_label=None)
    parser.add_argument("truth", type=Path, metavar="GT_FOLDER", help="folder with true segmentations")
    parser.add_argument("predictions", type=Path, metavar="PRED_FOLDER", help="folder with predictions")
    parser.add_argument("-o", dest="output", type=Path, metavar="FILE", help="default: PRED_FOLDER/summary.json")
    parser.add_argument("-np", dest="workers", type=positive, metavar="N", help="processes")
    parser.add_argument("--chill", dest="allow_missing", action="store_true", help="allow missing predictions")


def evaluate_folder_arguments(parser: argparse.ArgumentParser) -> None:
    """nnUNetv2_evaluate_folder's flags."""
    _evaluation_flags(parser)
    parser.add_argument("-djfile", dest="dataset_json", type=Path, required=True, metavar="FILE", help="dataset.json")
    parser.add_argument("-pfile", type=Path, required=True, metavar="FILE", help="plans.json (not needed here)")


def evaluate_simple_arguments(parser: argparse.ArgumentParser) -> None:
    """nnUNetv2_evaluate_simple's flags."""
    _evaluation_flags(parser)
    parser.add_argument("-l", dest="labels", type=int, nargs="+", required=True, metavar="N", help="label values")
    parser.add_argument(
        "-il", dest="ignore_label", type=int, metavar="N", help="voxels with this true value do not count"
    )


def export_arguments(parser: argparse.ArgumentParser) -> None:
    """nnUNetv2_export_model_to_zip's flags."""
    parser.add_argument("-d", dest="dataset", required=True, metavar="DATASET", help="number or name")
    parser.add_argument("-o", dest="output", type=Path, required=True, metavar="FILE.zip", help="is written")
    parser.add_argument("-c", nargs="+", metavar="NAME", help="configurations (default: all that were trained)")
    parser.add_argument("-tr", dest="trainer", default="nnUNetTrainer", metavar="NAME", help="trainer name")
    parser.add_argument("-p", dest="plans", default="nnUNetPlans", metavar="NAME", help="plans file, without .json")
    parser.add_argument("-f", dest="folds", nargs="+", type=fold, metavar="FOLD", help="default: all that were trained")
    parser.add_argument(
        "-chk", dest="checkpoints", nargs="+", default=["checkpoint_final.pth"], metavar="FILE",
        help="which of each fold (default: checkpoint_final.pth)",
    )  # fmt: skip
    parser.add_argument("--not_strict", action="store_true", help="leave out configurations that were not trained")
    parser.add_argument("--exp_cv_preds", action="store_true", help="also the segmentations of the held-out cases")


def export(arguments: argparse.Namespace, context: Context) -> None:
    """nnUNetv2_export_model_to_zip."""
    from segautoconfiglib import pipeline
    from segautoconfiglib.models.folder import list_models
    from segautoconfiglib.pipeline.models import export_models

    name = context.workspace.dataset_name(arguments.dataset)
    wanted = (arguments.trainer, arguments.plans)
    models = [model for model in list_models(context.workspace, name) if model.name_parts[:2] == wanted]
    found = {model.name_parts[2]: model.path for model in models if model.folds(None)}
    asked = arguments.c or list(found)
    missing = [configuration for configuration in asked if configuration not in found]
    if (missing and not arguments.not_strict) or len(missing) == len(asked):  # raises; says what there is
        configuration = missing[0] if missing else None
        pipeline.find_model(context, name, trainer=wanted[0], plans=wanted[1], configuration=configuration)
    export_models(
        context,
        [found[configuration] for configuration in asked if configuration in found],
        arguments.output,
        folds=arguments.folds,
        checkpoints=arguments.checkpoints,
        predictions=arguments.exp_cv_preds,
    )


def install_arguments(parser: argparse.ArgumentParser) -> None:
    """ZIP, and what nnU-Net does not ask."""
    parser.add_argument("file", type=Path, metavar="FILE.zip", help="of nnU-Net or of export-model")
    parser.add_argument("--overwrite", action="store_true", help="replace models of the same name")
    parser.set_defaults(dataset=None)


COMMANDS = {
    "nnUNetv2_convert_MSD_dataset": Command(convert_arguments, convert),
    "nnUNetv2_extract_fingerprint": Command(fingerprint_arguments, _fingerprints),
    "nnUNetv2_plan_experiment": Command(plan_arguments, plan),
    "nnUNetv2_preprocess": Command(preprocess_arguments, preprocess),
    "nnUNetv2_plan_and_preprocess": Command(plan_and_preprocess_arguments, plan_and_preprocess),
    "nnUNetv2_train": Command(train_arguments, train),
    "nnUNetv2_predict": Command(predict_arguments, predict),
    "nnUNetv2_predict_from_modelfolder": Command(predict_from_folder_arguments, predict),
    "nnUNetv2_evaluate_folder": Command(evaluate_folder_arguments, evaluate_command.run),
    "nnUNetv2_evaluate_simple": Command(evaluate_simple_arguments, evaluate_command.run),
    "nnUNetv2_export_model_to_zip": Command(export_arguments, export),
    "nnUNetv2_install_pretrained_model_from_zip": Command(install_arguments, import_model_command.run),
}
