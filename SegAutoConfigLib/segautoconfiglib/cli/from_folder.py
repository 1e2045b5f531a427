"""``from-folder DATASET IMAGES LABELS``: plain folders of images and label maps become a raw dataset."""

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.words import command
from segautoconfiglib.cli.making import COMMON_EPILOG, add_label_values, add_making, making
from segautoconfiglib.cli.options import add_new_dataset

EPILOG = f"""Images and label maps are paired by their names; _seg, _label, _mask, -label and the like do not count, and
files that all end in _0000, _0001 ... are channels. Any readable format, mixed too, and folders of DICOM files; DICOM
SEG files as label maps, their segments by name or number.
{COMMON_EPILOG}

examples:
  from-folder Dataset005_Liver scans segmentations --labels liver tumour --channels CT --test 20%
  from-folder Dataset006_Cells pictures masks --labels cell=255 --rename cell
  from-folder 5 more                               case7.nii.gz and case7_seg.nii.gz in one folder"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET, IMAGES, LABELS, --labels, --unlabelled-as-test and the common ones."""
    add_new_dataset(parser)
    parser.add_argument("images", type=Path, metavar="IMAGES", help="folder of images")
    parser.add_argument(
        "label_maps", nargs="?", type=Path, metavar="LABELS", help="folder of label maps (default: among the images)"
    )
    add_label_values(parser)
    parser.add_argument("--unlabelled-as-test", action="store_true", help="images without label map become test cases")
    add_making(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Make the dataset and say what comes next."""
    from segautoconfiglib import pipeline
    from segautoconfiglib.dataset.relabel import named_values

    labels = named_values(arguments.labels) if arguments.labels else None
    folder = pipeline.from_folder(
        context,
        arguments.dataset,
        arguments.images,
        arguments.label_maps,
        making(arguments, labels),
        unlabelled_as_test=arguments.unlabelled_as_test,
        workers=arguments.workers,
    )
    context.report("log", message=f"Next: {command('train', folder.name, '--budget', '20m')}")
