"""``delete-model FOLDER``: remove a model with all its folds."""

import argparse

from segautoconfiglib.base.context import Context
from segautoconfiglib.cli.options import add_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FOLDER."""
    add_model(parser)


def run(arguments: argparse.Namespace, context: Context) -> None:
    """Remove it for good."""
    from segautoconfiglib.models.changes import delete_model

    delete_model(arguments.model)
    context.report("log", message=f"Removed: {arguments.model}")
    context.report("done", stage="delete-model", path=str(arguments.model))
