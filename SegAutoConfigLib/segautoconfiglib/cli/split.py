"""``split DATASET``: cases for testing, and folds of one's own; patients stay together."""

import argparse
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli.options import add_dataset, positive, seed

EPILOG = """--test moves files from imagesTr and labelsTr to imagesTs and labelsTs; --folds writes splits_final.json to
the raw folder, for the cases that are left. With --group or --groups the cases of one patient are never divided.

examples:
  split 5 --test 20%
  split 5 --test case_003 case_017
  split 5 --folds 5 --group '(.+)_[0-9]+'      liver12_1 and liver12_2 are of one patient"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DATASET, --test, --folds, --seed, --group, --groups, --overwrite."""
    add_dataset(parser)
    parser.add_argument("--test", nargs="+", default=[], metavar="CASES", help="20%%, a number, or names of cases")
    parser.add_argument("--folds", type=positive, metavar="N", help="write N folds for cross-validation")
    parser.add_argument("--seed", type=seed, default=12345, metavar="N", help="of both choices (default: 12345)")
    groups = parser.add_mutually_exclusive_group()
    groups.add_argument("--group", metavar="REGEX", help="finds the patient in a case's name (its first bracket)")
    groups.add_argument("--groups", type=Path, metavar="FILE", help="CSV file with columns id and patient")
    parser.add_argument("--overwrite", action="store_true", help="replace the splits_final.json of the raw folder")


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Divide the dataset."""
    from segautoconfiglib import pipeline

    pipeline.split(
        context,
        arguments.dataset,
        test=arguments.test,
        folds=arguments.folds,
        seed=arguments.seed,
        group=arguments.group,
        groups=arguments.groups,
        overwrite=arguments.overwrite,
    )
