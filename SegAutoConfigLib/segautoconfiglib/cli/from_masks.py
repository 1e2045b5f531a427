"""``from-masks DATASET FOLDER``: images with one mask file per structure become a raw dataset."""

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.words import command
from segautoconfiglib.cli.making import COMMON_EPILOG, add_making, add_threshold, making
from segautoconfiglib.cli.options import add_new_dataset

EPILOG = f"""FOLDER is arranged in one of these ways:

  CASE/ct.nii.gz, CASE/segmentations/liver.nii.gz ...   a folder per case (TotalSegmentator)
  CASE/image.nii.gz, CASE/liver.nii.gz ...              the same without a folder of masks
  images/CASE.nii.gz, liver/CASE.nii.gz ...             a folder per structure, maybe inside masks/

Masks are 0 outside and one other number (1, 255) inside. Where they overlap, the later one wins: --labels gives the
order, and which masks are taken at all. A folder of DICOM files may stand for an image.
{COMMON_EPILOG}

examples:
  from-masks Dataset005_Organs totalsegmentator --labels liver kidney=kidney_left,kidney_right --channels CT
  from-masks Dataset006_Brain patients --images t1 flair --channels T1 FLAIR --labels brain lesion"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET, FOLDER, --labels, --images, --masks, --threshold and the common ones."""
    add_new_dataset(parser)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of cases, or of structures")
    parser.add_argument(
        "--labels", nargs="+", metavar="NAME[=MASK]",
        help="structures in order of precedence, later ones win; NAME=MASK,MASK joins masks, NAME=rest all "
        "others (default: all, by name)",
    )  # fmt: skip
    parser.add_argument(
        "--images", nargs="+", default=[], metavar="NAME",
        help="the images of each case in the order of the channels, or the one folder of images",
    )  # fmt: skip
    parser.add_argument(
        "--masks", metavar="NAME", help="the folder of masks (default: segmentations, masks, labels ...)"
    )
    add_threshold(parser)
    add_making(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Make the dataset and say what comes next."""
    from segautoconfiglib import pipeline
    from segautoconfiglib.dataset.from_masks import structures_of

    folder = pipeline.from_masks(
        context,
        arguments.dataset,
        arguments.folder,
        making(arguments),
        labels=structures_of(arguments.labels) if arguments.labels else None,
        images=arguments.images,
        masks=arguments.masks,
        workers=arguments.workers,
    )
    context.report("log", message=f"Next: {command('train', folder.name, '--budget', '20m')}")
