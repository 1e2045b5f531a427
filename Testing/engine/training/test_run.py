"""Whole trainings of a tiny network."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


def test_first(make_job):
    from segautoconfiglib.base.events import ListReporter
    from segautoconfiglib.training.run import train_fold
    r = ListReporter()
    print(train_fold(make_job(), report=r))
    for e in r.events: print(e)
    import os
    job = make_job()
    for f in sorted(job.model_folder.rglob("*")): print(f, f.stat().st_size)
    print(next(job.fold_folder.glob("training_log*")).read_text())
