"""Two processes on the CPU train as one does."""

from __future__ import annotations

import multiprocessing
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from segautoconfiglib.base.cancel import CancelToken  # noqa: E402
from segautoconfiglib.base.errors import Cancelled, Problem, ProblemsError, UserError  # noqa: E402
from segautoconfiglib.base.events import ListReporter, silent  # noqa: E402
from segautoconfiglib.base.plugins import plugged_in  # noqa: E402
from segautoconfiglib.networks.checkpoint import read_checkpoint  # noqa: E402
from segautoconfiglib.planning.plans import Plans  # noqa: E402
from segautoconfiglib.training.distributed import Group  # noqa: E402
from segautoconfiglib.training.hooks import FINAL, LATEST  # noqa: E402
from segautoconfiglib.training.job import TrainJob  # noqa: E402
from segautoconfiglib.training.processes import run_processes  # noqa: E402
from segautoconfiglib.training.run import train_fold  # noqa: E402

pytestmark = pytest.mark.torch

CURVES = ("train_losses", "val_losses", "mean_fg_dice", "ema_fg_dice")


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module rank_tasks, which processes that are started find, too."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import rank_tasks

    yield rank_tasks
    sys.modules.pop("rank_tasks")


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes come from one that has loaded torch, where the system can do that, instead of each loading it anew."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["segautoconfiglib.training.distributed"])
        known = SimpleNamespace(get_context=lambda method: context)
        monkeypatch.setattr("segautoconfiglib.training.processes.multiprocessing", known)


def with_plans(job: TrainJob, norm: str = "", **changes: Any) -> TrainJob:
    """The job with changes of its configuration."""
    content = job.plans.to_json()
    entry = content["configurations"][job.configuration]
    entry.update(changes)
    if norm:
        entry["architecture"]["arch_kwargs"]["norm_op"] = norm
    return replace(job, plans=Plans.from_json(content, "plans.json"))


def in_two(task: Any, *arguments: Any, report: Any = silent) -> Any:
    return run_processes(task, arguments, ["cpu", "cpu"], report=report, cancel=CancelToken())


def trained(job: TrainJob) -> dict[str, Any]:
    return read_checkpoint(job.fold_folder / FINAL)


def assert_same_course(one: dict[str, Any], two: dict[str, Any], name: str) -> None:
    for key in CURVES:
        assert two["logging"][key] == pytest.approx(one["logging"][key], abs=1e-4, nan_ok=True), f"{name}: {key}"
    assert one["network_weights"].keys() == two["network_weights"].keys()
    for key, weights in one["network_weights"].items():
        assert torch.allclose(two["network_weights"][key], weights, atol=1e-4), f"{name}: {key}"


def test_two_processes_train_as_one(make_job, describe, tiny_recipe, tasks, tmp_path):
    recipe = replace(tiny_recipe, epochs=2, batch_size=3)
    regions = {"labels": {"background": 0, "whole": [1, 2], "core": 2}, "regions_class_order": [1, 2]}
    ignore = {"labels": {"background": 0, "ball": 1, "ignore": 2}}
    plain = make_job(recipe=recipe)
    variants = {
        "batch dice": plain,
        "dice of samples, averaged weights": replace(
            with_plans(plain, batch_dice=False), recipe=replace(recipe, average_weights=0.9)
        ),
        "regions": replace(plain, description=describe(**regions)),
        "ignore": replace(plain, description=describe(**ignore)),
        "batch norm": with_plans(plain, norm="torch.nn.modules.batchnorm.BatchNorm3d"),
    }
    one, two = (
        {name: replace(job, model_folder=tmp_path / which / name) for name, job in variants.items()}
        for which in ("one", "two")
    )
    stopped = replace(two["batch dice"], model_folder=tmp_path / "stopped")
    report = ListReporter()
    ends = in_two(tasks.train_all, list(two.values()), [(stopped, 7)], report=report)
    for name in variants:
        train_fold(one[name])
        assert_same_course(trained(one[name]), trained(two[name]), name)
        names, names_of_one = ({file.name for file in job.fold_folder.iterdir()} for job in (two[name], one[name]))
        assert {n for n in names if "log" not in n} == {n for n in names_of_one if "log" not in n}
    assert [row["epoch"] for row in report.of("metric")] == [0, 1] * len(variants) + [0]
    assert any("2 processes" in entry["message"] for entry in report.of("log"))

    assert ends == ["stopped"]
    position = read_checkpoint(stopped.fold_folder / LATEST)["segautoconfig"]["position"]
    assert (position["epoch"], position["step"]) == (1, 2)  # an epoch asks 3 + 2 times
    train_fold(replace(stopped, resume=True))
    assert_same_course(trained(one["batch dice"]), trained(stopped), "stopped in two, resumed in one")


def test_a_killed_process_ends_the_others_and_is_named(make_job, tasks):
    job = make_job()
    with pytest.raises(UserError, match=r"Process 1 of 2 \(cpu\) died") as caught:
        in_two(tasks.die, job, 6)
    assert "It was killed" in caught.value.message
    assert "--resume" in caught.value.hint
    assert read_checkpoint(job.fold_folder / LATEST)["current_epoch"] == 1
    assert train_fold(replace(job, resume=True)).finished


def test_an_error_of_one_process_names_it(tasks, forked):
    report = ListReporter()
    with pytest.raises(UserError, match=re.escape("Process 1 of 2 (cpu): I would rather not.")):
        in_two(tasks.refuse, report=report)
    assert report.of("log") == [{"message": "[[0, 1], True, 0]"}]


def test_a_stop_is_no_failure_of_those_that_wait(tasks, forked):
    with pytest.raises(Cancelled):
        in_two(tasks.end_as, [None, Cancelled("Stopped on request.")])


def test_failures_of_all_processes_are_told(tasks, forked):
    errors = [UserError("No a.", "Get a."), ProblemsError("Some:", [Problem("No b."), Problem("No c.")])]
    with pytest.raises(ProblemsError, match="2 of 2 processes failed:") as caught:
        in_two(tasks.end_as, errors)
    assert [(problem.message, problem.hint) for problem in caught.value.problems] == [
        ("No a.", "Get a."),
        ("No b.", ""),
        ("No c.", ""),
    ]
    with pytest.raises(ProblemsError, match=re.escape("Process 1 of 2 (cpu): Some:")) as caught:
        in_two(tasks.end_as, [None, errors[1]])
    assert len(caught.value.problems) == 2


def test_what_is_no_bug_in_one_process_is_none_in_two(tasks, forked, tmp_path):
    with pytest.raises(UserError, match=r"Process 1 of 2 \(cpu\): The disk is full while writing a file"):
        in_two(tasks.end_as, [None, OSError(28, "No space left on device")])
    with pytest.raises(UserError, match="The memory ran out"):
        in_two(tasks.end_as, [MemoryError("too much"), None])
    file = tmp_path / "mine.py"
    file.write_text("def loss(x):\n    return {}['key']\ndef register(plugin):\n    plugin.loss('mine', loss)\n")
    with pytest.raises(UserError, match=r"mine\.py, line 2, failed: KeyError: 'key'"), plugged_in([file]):
        in_two(tasks.call_loss, "mine")


def test_samples_are_divided_the_rest_goes_to_the_first():
    assert [list(Group(rank, 3).part(8)) for rank in range(3)] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert list(Group().part(2)) == [0, 1]
    Group(0, 3).check_batch(3)
    with pytest.raises(UserError, match="A batch of 2 can't be divided among 3 processes"):
        Group(0, 3).check_batch(2)


def test_a_process_that_is_alone_is_the_whole_group():
    group, value = Group(), torch.tensor(2.0)
    assert group.total(value) is value
    assert group.mean(value, 3) is value
    assert (group.any(True), group.any(False), group.gather(5), group.first(lambda: 6)) == (True, False, [5], 6)
