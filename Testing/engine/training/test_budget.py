"""What fits into a time, with a device whose speed is known exactly."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Cancelled, UserError
from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.fingerprint.fingerprint import Fingerprint
from segautoconfiglib.networks.unet import UNet
from segautoconfiglib.planning.architectures import with_network
from segautoconfiglib.planning.plans import Configuration, Plans
from segautoconfiglib.planning.recipe import Recipe
from segautoconfiglib.planning.topology import plan_network
from segautoconfiglib.training.budget import Budget, budget_length, budget_plans, preprocessing_seconds, tiles_per_case
from segautoconfiglib.training.small_plans import small_configuration, small_plans_name, small_recipe
from segautoconfiglib.training.speed import Speed

pytestmark = pytest.mark.torch
CPU = torch.device("cpu")


@dataclass(frozen=True)
class KnownSpeed(Speed):
    """A device that takes ``second_per_megavoxel`` for a step of 8 features, and with the square of their number."""

    second_per_megavoxel: float = 1.0

    def with_best_threads(self, configuration: Configuration, workers: int = 0) -> Speed:
        return replace(self, threads=2)

    def step_seconds(self, configuration: Configuration, *, compiled: bool = False) -> float:
        width = configuration.architecture.features_per_stage[0] / 8
        voxels = configuration.batch_size * math.prod(configuration.patch_size)
        return self.second_per_megavoxel * voxels * width**2 / 1e6

    def forward_seconds(self, configuration: Configuration) -> float:
        return self.step_seconds(configuration) / (4 * configuration.batch_size)


#: Events of a measurement, and the choice that follows.
MEASURED = [("started", "speed"), ("done", "speed"), ("log", None)]


class NeverMeasured(Speed):
    """Fails when it is asked."""

    def with_best_threads(self, configuration: Configuration, workers: int = 0) -> Speed:
        raise AssertionError("measured")


@pytest.fixture
def standard(make_job: Any) -> Configuration:
    """A patch of 128 voxels' edge in images of 256; 8 features."""
    entry: Configuration = make_job().plans.configuration("3d_fullres")
    grid = {"patch_size": (128,) * 3, "median_image_size_in_voxels": (256.0,) * 3}
    network = plan_network((1.0,) * 3, (128,) * 3, base_features=8)
    return entry.model_copy(update={**grid, "architecture": network, "data_identifier": "nnUNetPlans_3d_fullres"})


@pytest.fixture
def plans(make_job: Any, standard: Configuration) -> Plans:
    return make_job().plans.model_copy(update={"configurations": {"3d_fullres": standard.to_json()}})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A preprocessed dataset of four cases of 256 voxels' edge."""
    Fingerprint(
        foreground_intensity_properties_per_channel={},
        median_relative_size_after_cropping=1.0,
        shapes_after_crop=((256,) * 3,) * 4,
        spacings=((1.0,) * 3,) * 4,
    ).save(tmp_path / "dataset_fingerprint.json")
    return tmp_path


def known_speed(describe: Any, second_per_megavoxel: float, recipe: Recipe | None = None) -> KnownSpeed:
    recipe = recipe or small_recipe(Recipe())
    return KnownSpeed(describe(), recipe, CPU, CancelToken(), second_per_megavoxel=second_per_megavoxel)


@pytest.mark.parametrize(
    ("second_per_megavoxel", "seconds", "patch", "width", "spacing"),
    [
        (1.0, 1e6, (128, 128, 128), 32, 1.0),  # all the time of the world: the planner's patch, the widest network
        (1.0, 2050 * 2 * 1.5**2 * 128**3 / 1e6, (128, 128, 128), 12, 1.0),  # 2000 steps of 12 features, not of 16
        (1.0, 2500.0, (112, 112, 112), 8, 1.03**4),  # 1.56 million voxels for 800 steps, an eighth of the image
        (100.0, 100.0, (8, 8, 8), 8, 1.03**46),  # coarser, up to the limit of 4
    ],
)
def test_patch_width_and_spacing_follow_the_time(
    standard: Configuration,
    describe: Any,
    second_per_megavoxel: float,
    seconds: float,
    patch: tuple[int, ...],
    width: int,
    spacing: float,
) -> None:
    chosen = small_configuration(standard, "small", "3d_fullres", known_speed(describe, second_per_megavoxel), seconds)
    assert chosen.patch_size == patch
    assert chosen.architecture.features_per_stage[0] == width
    assert chosen.spacing == pytest.approx((spacing,) * 3)
    assert chosen.median_image_size_in_voxels == (round(256 / spacing),) * 3
    assert chosen.batch_size == 2
    assert chosen.data_identifier == ("nnUNetPlans_3d_fullres" if spacing == 1 else "small_3d_fullres")


def test_plans_are_written_once_and_used_by_further_folds(plans: Plans, folder: Path, describe: Any) -> None:
    file = folder / "nnUNetPlans_20m_cpu.json"
    report = ListReporter()
    first = budget_plans(
        plans, "3d_fullres", file, known_speed(describe, 1.0), Budget(1200), stored=True, report=report
    )
    assert [(event.kind, event.data.get("stage")) for event in report.events] == MEASURED
    assert Plans.load(file) == first
    assert first.plans_name == "nnUNetPlans_20m_cpu"
    never = NeverMeasured(describe(), Recipe(), CPU, CancelToken())
    report = ListReporter()
    assert budget_plans(plans, "3d_fullres", file, never, Budget(1200), stored=True, report=report) == first
    assert "made for an earlier training" in report.of("log")[0]["message"]
    assert not report.of("started")
    fast = known_speed(describe, 1e-3)
    remade = budget_plans(plans, "3d_fullres", file, fast, Budget(1200), stored=True, remake=True)
    assert remade.configuration("3d_fullres").architecture.features_per_stage[0] == 32
    assert Plans.load(file) == remade


def test_umamba_in_small_plans(plans: Plans, standard: Configuration, folder: Path, describe: Any) -> None:
    """The trainer's choice is measured and told, but not written: other trainers use the same plans. The plans' is."""

    def made(some: Plans, name: str, **recipe: Any) -> tuple[str, str]:
        report, speed = ListReporter(), known_speed(describe, 1.0, small_recipe(Recipe(**recipe)))
        small = budget_plans(some, "3d_fullres", folder / name, speed, Budget(1200), stored=True, report=report)
        entry = small.configuration("3d_fullres")
        return entry.architecture.network_class_name.rpartition(".")[2], report.of("log")[-1]["message"].split()[1]

    assert made(plans, "a.json", network="UMambaBot") == ("PlainConvUNet", "UMambaBot")
    bot = standard.model_copy(update={"architecture": with_network(standard.architecture, "UMambaBot")})
    planned = plans.model_copy(update={"configurations": {"3d_fullres": bot.to_json()}})
    assert made(planned, "b.json") == ("UMambaBot", "UMambaBot")
    assert made(planned, "c.json", network="UMambaEnc") == ("PlainConvUNet", "UMambaEnc")


def test_plans_for_other_data_are_made_anew(plans: Plans, folder: Path, describe: Any) -> None:
    file = folder / "small.json"
    budget_plans(plans, "3d_fullres", file, known_speed(describe, 1.0), Budget(1200), stored=True)
    turned = plans.model_copy(update={"transpose_forward": (2, 0, 1)})
    never = NeverMeasured(describe(), Recipe(), CPU, CancelToken())
    with pytest.raises(AssertionError, match="measured"):
        budget_plans(turned, "3d_fullres", file, never, Budget(1200), stored=True)


def test_time_for_preprocessing_is_set_aside(
    plans: Plans, folder: Path, describe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four cases of 16.8 million voxels: 8.2 s on one core, so a patch of 100 s is chosen out of 108.2."""
    monkeypatch.setattr("segautoconfiglib.training.budget.usable_cores", lambda: 1)
    takes = preprocessing_seconds(Fingerprint.load(folder / "dataset_fingerprint.json"))
    assert takes == pytest.approx(4 * (0.04 + 0.12 * 256**3 / 1e6))
    speed, standard = known_speed(describe, 1.0), plans.configuration("3d_fullres")
    made = budget_plans(plans, "3d_fullres", folder / "a.json", speed, Budget(100 + takes), stored=False)
    expected = small_configuration(standard, "a", "3d_fullres", speed, 100)
    assert made.configuration("3d_fullres").patch_size == expected.patch_size
    assert made.configuration("3d_fullres").spacing == expected.spacing


def test_the_time_is_divided(plans: Plans, folder: Path, describe: Any) -> None:
    """A step takes 4.19 s, a tile 0.52 s; a case has 27 tiles and 16.8 million voxels."""
    report = ListReporter()
    speed = known_speed(describe, 1.0, replace(small_recipe(Recipe()), mirror=(2,)))
    length = budget_length(plans, "3d_fullres", folder, speed, Budget(10_000), held_out=60, report=report)
    step = 2 * 128**3 / 1e6
    validation = 60 * (27 * step / 8 + 0.1 + 0.25 * 256**3 / 1e6)  # mirrored, the tiles alone would take 1700 s
    training = 10_000 - validation - 150
    assert [(event.kind, event.data.get("stage")) for event in report.events][:3] == MEASURED
    assert length.deadline - time.monotonic() == pytest.approx(training, abs=1)
    assert length.recipe.iterations_per_epoch == round(30 / step)
    steps = int(training / step / 1.04)
    assert length.recipe.epochs == math.ceil(steps / 7)
    assert length.threads == 2
    assert not length.compile
    assert not length.mirror_validation
    assert report.of("log")[1]["message"].startswith(
        "Patches are mirrored along x: along z and y the labels have fixed"
    )
    assert "60 held-out cases, without mirroring" in report.of("log")[2]["message"]
    assert not report.of("warning")


def test_mirroring_is_kept_where_there_is_time(plans: Plans, folder: Path, describe: Any) -> None:
    """Eight times 28.3 s for two cases are less than 15 % of 10000 s, for twenty they are more."""
    speed = known_speed(describe, 1.0, Recipe())
    few = budget_length(plans, "3d_fullres", folder, speed, Budget(10_000), held_out=2)
    assert few.mirror_validation
    assert not budget_length(plans, "3d_fullres", folder, speed, Budget(10_000), held_out=20).mirror_validation


def test_few_steps_are_warned_of_and_none_refused(plans: Plans, folder: Path, describe: Any) -> None:
    report = ListReporter()
    speed = known_speed(describe, 1.0)
    length = budget_length(plans, "3d_fullres", folder, speed, Budget(1000), held_out=0, report=report)
    assert (length.recipe.epochs, length.recipe.iterations_per_epoch) == (33, 7)
    assert "225 steps are few" in report.of("warning")[0]["message"]
    with pytest.raises(UserError, match=r"too short on this device: a training step takes 4\.2 s") as error:
        budget_length(plans, "3d_fullres", folder, speed, Budget(40), held_out=2)
    assert "--fold all" in error.value.hint
    assert error.value.action == "more-time-or-fold-all"
    with pytest.raises(UserError, match="too short on this device") as error:
        budget_length(plans, "3d_fullres", folder, speed, Budget(40), held_out=0)
    assert error.value.action == "more-time"


def test_a_used_up_budget_is_refused() -> None:
    assert Budget(60).left == pytest.approx(60, abs=1)
    with pytest.raises(UserError, match="The budget of 60 s is used up before training could start"):
        Budget(60, time.monotonic() - 61).left  # noqa: B018


def test_tiles_per_case(make_job: Any) -> None:
    """Patch 8 x 16 x 16, half a patch between tiles; 2D counts every slice."""
    plans = make_job().plans
    fingerprint = Fingerprint(
        foreground_intensity_properties_per_channel={},
        median_relative_size_after_cropping=1.0,
        shapes_after_crop=((8, 16, 16), (12, 32, 17)),
        spacings=((1.0,) * 3,) * 2,
    )
    assert tiles_per_case(plans, plans.configuration("3d_fullres"), fingerprint) == (1 + 2 * 3 * 2) / 2
    assert tiles_per_case(plans, plans.configuration("2d"), fingerprint) == (8 + 12 * 3 * 2) / 2


@pytest.mark.parametrize(
    ("seconds", "name"), [(90, "90s"), (240, "4m"), (1200, "20m"), (3600, "60m"), (7200, "2h"), (8100, "135m")]
)
def test_names_of_plans_tell_time_and_device(seconds: float, name: str) -> None:
    assert small_plans_name("nnUNetPlans", seconds, CPU) == f"nnUNetPlans_{name}_cpu"


def test_plans_for_a_time_keep_their_name() -> None:
    assert small_plans_name("nnUNetPlans_60s_cpu", 40, CPU) == "nnUNetPlans_60s_cpu"
    assert small_plans_name("nnUNetPlans_2h_mps", 40, CPU) == "nnUNetPlans_2h_mps"
    assert small_plans_name("nnUNetPlans_2h_cpu_b", 40, CPU) == "nnUNetPlans_2h_cpu_b_40s_cpu"


def test_the_small_recipe_keeps_what_was_asked_for() -> None:
    small = small_recipe(Recipe(seed=3, augmentation="none", trainer_name="nnUNetTrainerNoDA"))
    assert (small.seed, small.augmentation, small.trainer_name) == (3, "none", "nnUNetTrainerNoDA")
    assert (small.optimizer, small.mirror) == ("muon", True)


def test_measuring_real_steps(make_job: Any) -> None:
    """Seconds of real steps; the number of threads is one that this machine has, and is put back."""
    job = make_job()
    speed = Speed(job.description, job.recipe, CPU, CancelToken())
    entry, before = job.plans.configuration("3d_fullres"), torch.get_num_threads()
    assert 0 < speed.forward_seconds(entry) < 5
    assert 0 < speed.step_seconds(entry) < 5
    chosen = speed.with_best_threads(entry)
    assert chosen.threads is not None
    assert chosen.threads >= 1
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("patience_s", "steps"), [(math.inf, 4), (0.0, 2)])
def test_a_step_is_measured_once_and_not_for_long(
    make_job: Any, monkeypatch: pytest.MonkeyPatch, patience_s: float, steps: int
) -> None:
    """One step that does not count, and three that do; at least one of these, however little time there is."""
    job, taken = make_job(), []
    monkeypatch.setattr("segautoconfiglib.training.speed.train_step", lambda *_: taken.append(1))
    speed = Speed(job.description, job.recipe, CPU, CancelToken(), patience_s=patience_s)
    entry = job.plans.configuration("3d_fullres")
    seconds = replace(speed, threads=1).step_seconds(entry)
    assert len(taken) == steps
    assert replace(speed, threads=1, recipe=replace(job.recipe, mirror=False)).step_seconds(entry) == seconds
    assert len(taken) == steps
    replace(speed, threads=2).step_seconds(entry)
    assert len(taken) == 2 * steps


def test_measuring_is_done_with_the_settings_of_what_is_measured(
    make_job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training lets cuDNN try its algorithms, prediction does not; both have the device's precision."""
    job, seen = make_job(), set()
    lower = lambda device: torch.autocast(device.type, torch.bfloat16)  # noqa: E731
    for module in ("speed", "step"):
        monkeypatch.setattr(f"segautoconfiglib.training.{module}.autocast", lower)

    def look(module: torch.nn.Module, *_: Any) -> None:
        if isinstance(module, UNet):
            seen.add((torch.is_autocast_enabled("cpu"), torch.backends.cudnn.benchmark))

    with torch.nn.modules.module.register_module_forward_hook(look):
        speed, entry = Speed(job.description, job.recipe, CPU, CancelToken()), job.plans.configuration("3d_fullres")
        speed.step_seconds(entry)
        assert seen == {(True, True)}
        seen.clear()
        speed.forward_seconds(entry)
        assert seen == {(True, False)}


def test_measuring_can_be_cancelled(make_job: Any) -> None:
    job, cancel = make_job(), CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        Speed(job.description, job.recipe, CPU, cancel).step_seconds(job.plans.configuration("3d_fullres"))
