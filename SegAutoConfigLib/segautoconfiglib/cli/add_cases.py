"""``add-cases DATASET --from STAGING``: images with their segmentations become part of a raw dataset."""

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.words import command
from segautoconfiglib.cli.options import add_new_dataset, add_workers

EPILOG = """STAGING holds the files, in any readable format, and cases.json:

  {"channel_names": {"0": "CT"},
   "labels": {"background": 0, "liver": 1, "tumour": 2},
   "cases": [{"id": "case_001", "images": ["scan.nrrd"], "labels": "segmentation.nrrd"}]}

Of a case: "test": true puts it into imagesTs (then labels may be missing), "replace": true lets it take the place of
one with the same id. Besides: "regions_class_order", "file_ending" of a new dataset (default .nrrd), "segments"
({"liver": {"color": [r, g, b], "terminology": "..."}}).

All problems of all cases are listed first, and nothing is written then. An existing dataset keeps its channels, its
file ending and the numbers of its labels; new labels follow at the end (not in a dataset with an ignore label).
Train again as before: folds, plans and preprocessed cases follow the dataset.

examples:
  add-cases Dataset005_Liver --from exported      a new dataset, or more cases for an existing one
  add-cases 5 --from corrected"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET, --from, --workers."""
    add_new_dataset(parser)
    parser.add_argument(
        "--from", dest="source", type=Path, required=True, metavar="STAGING", help="folder with cases.json"
    )
    add_workers(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Add the cases and say what the dataset holds now."""
    from segautoconfiglib import pipeline

    folder = pipeline.add_cases(context, arguments.dataset, arguments.source, workers=arguments.workers)
    context.report("log", message=f"Next: {command('train', folder.name, '--budget', '20m')}")
