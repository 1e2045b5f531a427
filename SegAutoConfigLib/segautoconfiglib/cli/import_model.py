"""``import-model FILE.zip``: put models of a zip file into the workspace."""

import argparse
import shlex

from segautoconfiglib.base.context import Context

EPILOG = """Takes zip files of export-model, of nnU-Net 2 and of nnU-Net 1, and zipped model folders.
Nothing in the file is run, and nothing is changed before everything in it was checked."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE, where to."""
    parser.add_argument(
        "file", metavar="FILE.zip", help="of export-model or of nnU-Net; an address (https://...) will do"
    )
    parser.add_argument(
        "--dataset", "-d", metavar="DATASET",
        help="put the models under this dataset, for example Dataset123_Liver (default: as the file says)",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace models of the same name")


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Check and install."""
    from segautoconfiglib.pipeline.models import import_models

    models = import_models(context, arguments.file, dataset=arguments.dataset, overwrite=arguments.overwrite)
    for model in models:
        context.report("log", message=f"Next: predict --model {shlex.quote(str(model.path))} -i IN -o OUT")
