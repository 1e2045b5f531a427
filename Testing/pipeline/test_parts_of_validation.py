"""What the first of several processes tells while all of them predict the held-out cases."""

from __future__ import annotations

from pathlib import Path

import pytest

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.base.workspace import Workspace
from segautoconfiglib.pipeline.options import TrainOptions

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(("size", "done"), [(1, [1, 2, 3, 4, 5]), (2, [1, 3, 5]), (4, [2, 5])])
def test_progress_is_that_of_all_cases(trained: Path, tmp_path: Path, size: int, done: list[int]) -> None:
    from segautoconfiglib.pipeline.validation import _HeldOut, _predict_part
    from segautoconfiglib.training.distributed import Group

    model = trained / "nnUNet_results" / "Dataset007_Test" / "nnUNetTrainer__tiny__3d_fullres"
    store = trained / "nnUNet_preprocessed" / "Dataset007_Test" / "nnUNetPlans_3d_fullres"
    cases = tuple(f"c{number}" for number in range(5))
    options = TrainOptions(device="cpu")
    work = _HeldOut(
        Workspace.at(trained), model, store, cases, tmp_path / "out", "checkpoint_final.pth", False, options
    )
    report = ListReporter()
    _predict_part(work, report=report, cancel=CancelToken(), group=Group(size=size))
    assert [event["total"] for event in report.of("started")] == [5]
    assert [(event["done"], event["total"]) for event in report.of("progress")] == [(count, 5) for count in done]
    assert [event["cases"] for event in report.of("done")] == [5]
    assert sorted(file.name for file in (tmp_path / "out").glob("*.nii.gz")) == [f"{c}.nii.gz" for c in cases[::size]]
