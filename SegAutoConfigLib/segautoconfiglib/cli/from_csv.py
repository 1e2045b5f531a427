"""``from-csv DATASET LIST``: files that a list names become a raw dataset."""

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.words import command
from segautoconfiglib.cli.making import COMMON_EPILOG, add_label_values, add_making, add_threshold, making
from segautoconfiglib.cli.options import add_new_dataset

EPILOG = f"""LIST is a CSV file (comma, semicolon or tab) whose first line names the columns:

  image              the image; or image_0, image_1 ..., or image_T1, image_T2 ... (which also name the channels)
  label              the label map; or mask_liver, mask_tumour ... (of overlapping masks the later column wins)
  id                 name of the case (default: that of its first image)
  split              train, val or test; val cases validate in the only fold
  patient            cases of one patient are never divided: folds are written to splits_final.json

Paths start at the list's folder. A folder of DICOM files may stand for an image; FOLDER/SERIES where it holds several.
A DICOM SEG file may stand for a label map: its segments are taken by their names, or by their numbers.
{COMMON_EPILOG}

examples:
  from-csv Dataset005_Liver cases.csv --labels liver tumour
  from-csv Dataset005_Liver cases.csv --labels liver=5 vessels=51-54 background=rest"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET, LIST, --labels, --threshold and the common ones."""
    add_new_dataset(parser)
    parser.add_argument("list", type=Path, metavar="LIST", help="CSV file")
    add_label_values(parser)
    add_threshold(parser)
    add_making(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Make the dataset and say what comes next."""
    from segautoconfiglib import pipeline
    from segautoconfiglib.dataset.relabel import named_values

    labels = named_values(arguments.labels) if arguments.labels else None
    folder = pipeline.from_csv(
        context, arguments.dataset, arguments.list, making(arguments, labels), workers=arguments.workers
    )
    context.report("log", message=f"Next: {command('train', folder.name, '--budget', '20m')}")
