"""``rename-model FOLDER TITLE``: what a model is called in lists."""

import argparse

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli.options import add_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FOLDER, TITLE."""
    add_model(parser)
    parser.add_argument("title", metavar="TITLE", help="one line of text; the folder keeps its name")


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Write the title to model.json."""
    from segautoconfiglib.models.changes import rename_model

    title = rename_model(arguments.model, arguments.title)
    context.report("log", message=f"{arguments.model} is now called {title!r}.")
    context.report("done", stage="rename-model", path=str(arguments.model), title=title)
