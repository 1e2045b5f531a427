"""Plans of another dataset are trained without a word about a dataset that has not changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.base.workspace import Workspace
from segautoconfiglib.image.files import read_image, write_image
from segautoconfiglib.pipeline.changes import follow_dataset

TARGET = "Dataset008_Target"


def said(workspace: Path, plans_name: str) -> list[str]:
    """What is logged before such a training."""
    report = ListReporter()
    context = Context(Workspace.at(workspace), report)
    fold = context.workspace.results / TARGET / f"nnUNetTrainer__{plans_name}__3d_fullres" / "fold_0"
    follow_dataset(context, TARGET, plans_name, fold, overwrite=False)
    return [event["message"] for event in report.of("log")]


def test_only_plans_of_the_dataset_itself_follow_it(raw: Path, workspace: Path, cli: Callable[..., Any]) -> None:
    target = raw.with_name(TARGET)
    shutil.copytree(raw, target)
    for file in (target / "imagesTr").iterdir():
        image = read_image([file])
        write_image(image.array[0] * 2, file, image.geometry)  # of other intensities
    assert cli("plan", 7).code == 0
    assert cli("plan", 8).code == 0
    assert cli("move-plans", 7, 8, "--as", "of7").code == 0
    folder = workspace / "nnUNet_preprocessed" / TARGET
    assert said(workspace, "nnUNetPlans") == said(workspace, "of7") == []
    changed = json.loads((folder / "of7.json").read_text())
    changed["configurations"]["3d_fullres"]["batch_size"] = 3
    (folder / "of7.json").write_text(json.dumps(changed))  # nobody knows any more where they are from
    (message,) = said(workspace, "of7")
    assert message.startswith(f"of7 was not made from what {TARGET} holds now; that plan stays")
