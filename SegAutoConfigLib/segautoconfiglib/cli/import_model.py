"""``import-model FILE.zip``: put models of a zip file into the workspace."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.words import command
from segautoconfiglib.cli.options import add_replacing

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
    add_replacing(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Check and install."""
    from segautoconfiglib.pipeline.models import import_models

    models = import_models(context, arguments.file, dataset=arguments.dataset, overwrite=arguments.overwrite)
    for words in _uses([model.path for model in models]):
        context.report("log", message=f"Next: {command('predict', *words, '-i', 'IN', '-o', 'OUT')}")


def _uses(models: Sequence[Path]) -> Iterator[tuple[str, object]]:
    """How to predict with new models: as find-best has chosen where all of that is new, else with each of them."""
    from segautoconfiglib.models.bundle import chosen_models

    for folder in dict.fromkeys(model.parent for model in models):
        names = [model.name for model in models if model.parent == folder]
        chosen: list[str] = []
        with suppress(UserError):  # damaged, which matters to those who want to use it
            chosen = chosen_models(folder)
        if chosen and set(chosen) <= set(names):
            yield "--choice", folder.name
        else:
            yield from (("--model", folder / name) for name in names)
