"""``predict``: segment the images of a folder with a trained model."""

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli.options import add_device, fold, positive, whole_number

EPILOG = """examples:
  predict -d 4 -i imagesTs -o out              the model of dataset 4, all its folds
  predict -d 4 -f all -i IN -o OUT --device cpu
  predict --model FOLDER -i IN -o OUT          a model folder trainer__plans__configuration"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Input, output, model and options."""
    add_files(parser)
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--dataset", "-d", metavar="DATASET", help="the dataset that the model was trained on")
    model.add_argument("--model", "-m", type=Path, metavar="FOLDER", help="a model folder")
    parser.add_argument(
        "--configuration", "-c", metavar="NAME", help="2d or 3d_fullres (default: the model trained last)"
    )
    parser.add_argument("--plans", "-p", metavar="NAME", help="of the model (default: the one trained last)")
    parser.add_argument("--trainer", "-tr", metavar="NAME", help="of the model (default: the one trained last)")
    parser.add_argument(
        "--folds", "--fold", "-f", nargs="+", type=fold, metavar="FOLD",
        help="0 to 4, several are averaged, or all (default: every numbered fold that was trained, else all)",
    )  # fmt: skip
    add_options(parser)


def add_files(parser: argparse.ArgumentParser) -> None:
    """``-i`` and ``-o``."""
    parser.add_argument(
        "-i", "--input", type=Path, required=True, metavar="FOLDER", help="images, named <case>_0000.nii.gz"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="where segmentations go")


def add_options(parser: argparse.ArgumentParser) -> None:
    """How to predict, shared with nnU-Net's commands."""
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
    add_device(parser)
    parser.add_argument(
        "-npp", "--workers", type=whole_number, metavar="N",
        help="0: read each image only when its turn comes (default: the next one meanwhile, if the memory suffices)",
    )  # fmt: skip


def model_folder(arguments: argparse.Namespace, context: Context) -> Path:
    """The model folder that was named, else the one of the dataset that fits the other arguments."""
    from segautoconfiglib import pipeline

    folder: Path = arguments.model or pipeline.find_model(
        context,
        arguments.dataset,
        configuration=arguments.configuration,
        trainer=arguments.trainer,
        plans=arguments.plans,
        folds=arguments.folds,
        checkpoint=arguments.checkpoint,
    )
    return folder


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Predict all cases of the input folder."""
    from segautoconfiglib import pipeline
    from segautoconfiglib.inference.run import PredictOptions

    folder = model_folder(arguments, context)
    options = PredictOptions(
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
    )
    pipeline.predict(
        context,
        folder,
        arguments.input,
        arguments.output,
        folds=arguments.folds,
        checkpoint=arguments.checkpoint,
        device=arguments.device,
        options=options,
    )
