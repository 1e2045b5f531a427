"""Renaming and deleting models."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.words import command
from segautoconfiglib.base.workspace import DATASET_NAME
from segautoconfiglib.models.card import CARD_FILE, load_card
from segautoconfiglib.models.folder import ModelFolder
from segautoconfiglib.models.listing import looks_like_model

LONGEST_TITLE = 200


def rename_model(path: Path | str, title: str) -> str:
    """Give a model another title; the folder keeps its name. Returns: the title without space around it.

    Raises:
        UserError: it is no model folder, or the title is empty, too long, or not one line.
    """
    model, title = ModelFolder.open(path), title.strip()
    if not title or len(title) > LONGEST_TITLE or not title.isprintable():
        raise UserError(
            f"{title!r:.80} can't be a title.", f"Give a text of one line with 1 to {LONGEST_TITLE} characters."
        )
    load_card(model.path).model_copy(update={"title": title}).save(model.path / CARD_FILE)
    return title


def delete_model(path: Path | str) -> None:
    """Remove a model with all its folds, and the dataset's folder of results if that is empty then.

    Args:
        path: A model, which may be damaged.

    Raises:
        UserError: it is no model, one of its folds is being trained, or a file can't be removed.
    """
    path = Path(path).absolute()
    if not path.is_dir() or path.is_symlink() or not looks_like_model(path):
        raise UserError(
            f"{path} is no model folder; nothing was removed.",
            f"Give the folder that holds plans.json and fold_0, fold_1, ... ({command('info')} lists all).",
        )
    check_idle(ModelFolder(path))
    remove_folder(path)
    if DATASET_NAME.fullmatch(path.parent.name):
        with suppress(OSError):  # it holds more
            path.parent.rmdir()


def check_idle(model: ModelFolder) -> None:
    """Raises: UserError: a fold of the model is being trained."""
    busy = model.folds_in_training()
    if busy:
        raise UserError(
            f"Fold {', '.join(map(str, busy))} of {model.path.name} is being trained.", "Stop the training first."
        )


def remove_folder(folder: Path) -> None:
    """Remove a folder under another name, so that no half of it is ever seen. Raises: UserError: it can't be."""
    doomed = folder.with_name(f".removed-{secrets.token_hex(4)}")
    try:
        os.replace(folder, doomed)
        shutil.rmtree(doomed)
    except OSError as error:
        raise UserError(
            f"Can't remove {error.filename or folder}: {error.strerror or error}.",
            "Check the permissions, and that no other program uses the model.",
        ) from error
