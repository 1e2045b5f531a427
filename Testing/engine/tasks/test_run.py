"""Tasks as a whole: the same labels as their steps one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

torch = pytest.importorskip("torch")

from segautoconfiglib.base.cancel import CancelToken  # noqa: E402
from segautoconfiglib.base.errors import Cancelled, UserError  # noqa: E402
from segautoconfiglib.base.events import ListReporter, silent  # noqa: E402
from segautoconfiglib.image.crop import bounding_box  # noqa: E402
from segautoconfiglib.image.volume import Geometry, Volume  # noqa: E402
from segautoconfiglib.inference import model as model_module  # noqa: E402
from segautoconfiglib.inference.images import predict_image  # noqa: E402
from segautoconfiglib.inference.model import Model, load_model  # noqa: E402
from segautoconfiglib.tasks import parts as parts_module  # noqa: E402
from segautoconfiglib.tasks.catalogue import find_task, load_catalogue  # noqa: E402
from segautoconfiglib.tasks.cleanup import refine_vertebrae  # noqa: E402
from segautoconfiglib.tasks.grid import resample  # noqa: E402
from segautoconfiglib.tasks.loaded import LoadedModels  # noqa: E402
from segautoconfiglib.tasks.options import TaskOptions, TaskResult  # noqa: E402
from segautoconfiglib.tasks.run import _Run, segment  # noqa: E402
from segautoconfiglib.tasks.weights import WeightsFolders  # noqa: E402
from task_steps import INTENSITIES, KnownModels, documented, scan, stored  # noqa: E402
from task_weights import make_task_weights  # noqa: E402

pytestmark = pytest.mark.torch

ABDOMEN = {"liver": ((8, 9, 10), 4), "spleen": ((12, 10, 17), 3), "heart": ((15, 15, 6), 3), "aorta": ((16, 5, 13), 2)}
TOTAL, MR = find_task("total"), find_task("total_mr")


@pytest.fixture
def models() -> KnownModels:
    return KnownModels()


def label(task: str, name: str) -> int:
    return find_task(task).label(name)


def steps(image: sitk.Image, task: str, mode: str = "default", **options: Any) -> np.ndarray:
    """The documented steps of a task; step and spacing are those of the task's table."""
    found = find_task(task)
    parts = options.pop("parts", found.modes[mode].parts)
    return documented(image, found, parts, **{"spacing": parts[0].spacing_mm, "step": 0.5, **options})


def found_in(labels: np.ndarray) -> list[int]:
    return np.unique(labels).tolist()


@pytest.mark.parametrize("code", ["LPS", "RAS", "SAL", "PIR"])
def test_models_one_after_the_other(code: str, models: KnownModels) -> None:
    image = scan(ABDOMEN, code=code)

    result = segment(stored(image), "total", models=models)

    expected = steps(image, "total", step=0.8)
    assert np.array_equal(result.labels, expected)
    assert found_in(expected) == [
        0,
        *(label("total", name) for name in ("spleen", "liver", "heart", "aorta", "rib_left_1")),
    ]
    assert models.asked == models.needed == [291, 292, 293, 294, 295]
    assert (result.labels.dtype, result.names, result.warnings) == (np.uint8, TOTAL.classes, ())
    assert result.geometry == stored(image).geometry


def test_step_of_the_window_matters_to_these_models() -> None:
    image = scan(ABDOMEN)

    assert not np.array_equal(steps(image, "total", step=0.8), steps(image, "total", step=0.5))


@pytest.mark.parametrize(("mode", "dataset"), [("fast", 297), ("fastest", 298)])
@pytest.mark.parametrize("order", [0, 3])
def test_coarser_models_and_resampling_orders(mode: str, dataset: int, order: int, models: KnownModels) -> None:
    image = scan(ABDOMEN)

    result = segment(stored(image), "total", TaskOptions(**{mode: True}, order=order), models=models)

    assert np.array_equal(result.labels, steps(image, "total", mode, step=0.8, order=order))
    assert models.asked == [dataset]


def test_an_image_of_the_models_spacing_keeps_its_fractions(models: KnownModels) -> None:
    image = scan(ABDOMEN, spacing=(3.0, 3.0, 3.0), kind=np.float32)

    result = segment(stored(image), "total", TaskOptions(fast=True), models=models)

    assert np.array_equal(result.labels, steps(image, "total", "fast", step=0.8))
    assert result.working is not None
    assert result.working.image.array.dtype == np.float32


def rough_mask(image: sitk.Image, names: tuple[str, ...], mode: str = "fastest", task: str = "total") -> np.ndarray:
    rough = steps(image, task, mode, step=0.8 if task.startswith("total") else 0.5)
    return np.isin(rough, [label(task, name) for name in names])


def test_rough_models_see_the_image_resampled_by_the_same_order(models: KnownModels) -> None:
    image = scan(ABDOMEN)

    result = segment(stored(image), "total", TaskOptions(fast=True, subset=("aorta",), order=3), models=models)

    aorta = label("total", "aorta")
    rough = steps(image, "total", "fastest", step=0.8, order=3) == aorta
    expected = steps(image, "total", "fast", step=0.8, order=3, mask=rough)
    assert np.array_equal(result.labels, np.where(expected == aorta, aorta, 0))
    assert bounding_box(rough) != bounding_box(rough_mask(image, ("aorta",)))


@pytest.mark.parametrize(("robust", "mode", "rough"), [(False, "fastest", 298), (True, "fast", 297)])
def test_subset_runs_only_its_models_around_it(robust: bool, mode: str, rough: int, models: KnownModels) -> None:
    image = scan(ABDOMEN, code="RAS")

    result = segment(stored(image), "total", TaskOptions(subset=("spleen", "aorta"), robust_crop=robust), models=models)

    mask = rough_mask(image, ("spleen", "aorta"), mode)
    expected = steps(image, "total", step=0.8, mask=mask, parts=[TOTAL.modes["default"].parts[i] for i in (0, 2)])
    wanted = [label("total", "spleen"), label("total", "aorta")]
    assert np.array_equal(result.labels, np.where(np.isin(expected, wanted), expected, 0))
    assert found_in(result.labels) == [0, *wanted]
    assert result.names == {label("total", name): name for name in ("spleen", "aorta")}
    assert models.asked == models.needed == [rough, 291, 293]


def test_subset_of_mr_has_the_finer_rough_model(models: KnownModels) -> None:
    image = scan(ABDOMEN)

    result = segment(stored(image), "total_mr", TaskOptions(subset=("liver",)), models=models)

    mask = rough_mask(image, ("liver",), "fast", "total_mr")
    expected = steps(image, "total_mr", step=0.8, mask=mask, parts=MR.modes["default"].parts[:1])
    liver = label("total_mr", "liver")
    assert np.array_equal(result.labels, np.where(expected == liver, liver, 0))
    assert models.asked == [852, 850]


def test_crop_and_auxiliary_labels(models: KnownModels) -> None:
    image = scan({**ABDOMEN, "kidney_left": ((6, 17, 18), 3), "kidney_cyst_left": ((6, 17, 15), 1)})

    result = segment(stored(image), "kidney_cysts", models=models)

    names = ("kidney_left", "kidney_right", "liver", "spleen", "colon")
    expected = steps(image, "kidney_cysts", mask=rough_mask(image, names))
    assert 3 in found_in(expected)  # an auxiliary label
    assert np.array_equal(result.labels, np.where(expected == 1, 1, 0))
    assert found_in(result.labels) == [0, 1]
    assert models.asked == [298, 789]


def test_native_images_are_cropped_and_what_is_outside_is_removed(models: KnownModels) -> None:
    structures = {"heart": ((10, 12, 14), 4), "heart_atrium_left": ((10, 12, 4), 2)}
    image = scan(structures, spacing=(4.0, 2.5, 2.2), kind=np.float32)

    result = segment(stored(image), "heartchambers_highres", models=models)

    mask = rough_mask(image, ("heart",), "fast")
    expected = steps(image, "heartchambers_highres", mask=mask)
    near = ndimage.binary_dilation(
        rough_mask(image, ("heart", "aorta", "inferior_vena_cava"), "fast"),
        iterations=int(10 / np.mean([4.0, 2.5, 2.2])),
    )
    assert not np.array_equal(expected, np.where(near, expected, 0))
    assert np.array_equal(result.labels, np.where(near, expected, 0))
    assert models.asked == [297, 301]


def test_a_whole_task_finds_the_surroundings_of_teeth(models: KnownModels) -> None:
    image = scan({"skull": ((7, 7, 8), 5), "teeth_upper": ((7, 14, 8), 2)}, (14, 18, 16), (2.2, 2.2, 2.2))

    result = segment(stored(image), "teeth", models=models)

    skull = rough_mask(image, ("skull",))
    whole = steps(image, "craniofacial_structures", mask=skull)
    expected = steps(image, "teeth", mask=whole == label("craniofacial_structures", "teeth_upper"), addon_mm=10.0)
    assert np.array_equal(result.labels, expected)
    assert found_in(expected) == [0, label("teeth", "upper_jawbone")]
    assert models.asked == models.needed == [298, 115, 113]


def body_steps(image: sitk.Image, mode: str) -> np.ndarray:
    def clean(labels: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
        trunk, _ = ndimage.label(labels == 1)
        labels[(labels == 1) & (trunk != np.bincount(trunk[trunk > 0]).argmax())] = 0
        limbs, count = ndimage.label(labels == 2)
        for number in range(1, count + 1):
            if (limbs == number).sum() * np.prod(spacing) <= 50000:
                labels[limbs == number] = 0
        return labels

    return steps(image, "body", mode, clean=clean)


BODY = {"body_trunc": ((14, 17, 18), 6), "body_extremities": ((14, 15, 33), 7), "liver": ((14, 17, 18), 2)}
LARGE: dict[str, Any] = {"shape": (28, 34, 40), "spacing": (5.0, 3.0, 3.0)}


def test_body_keeps_the_largest_trunk_and_large_limbs(models: KnownModels) -> None:
    image = scan(BODY, **LARGE)
    spots = sitk.GetArrayFromImage(image)
    spots[2:5, 2:5, 2:5], spots[23:26, 2:5, 2:5] = 0, -200
    changed = sitk.GetImageFromArray(spots)
    changed.CopyInformation(image)

    result = segment(stored(changed), "body", TaskOptions(fast=True), models=models)

    assert np.array_equal(result.labels, body_steps(changed, "fast"))
    assert found_in(result.labels) == [0, 1, 2]
    assert not result.labels[:6].any()
    assert not result.labels[22:, :6, :6].any()


def test_crop_to_the_body(models: KnownModels) -> None:
    image = scan(BODY, **LARGE)

    result = segment(stored(image), "total", TaskOptions(fast=True, body_crop=True), models=models)

    expected = steps(image, "total", "fast", step=0.8, mask=body_steps(image, "fast") > 0, addon_mm=3.0)
    assert np.array_equal(result.labels, expected)
    assert models.asked == [300, 297]


def test_mr_is_not_cropped_to_the_body(models: KnownModels) -> None:
    result = segment(stored(scan(ABDOMEN)), "total_mr", TaskOptions(fast=True, body_crop=True), models=models)

    assert models.asked == [852]
    assert len(result.warnings) == 1


def test_nothing_found_for_the_crop_of_a_crop(models: KnownModels) -> None:
    result = segment(stored(scan({"liver": ((8, 9, 10), 4)})), "teeth", models=models)

    assert not result.labels.any()
    for warning, task in zip(result.warnings, ("craniofacial_structures", "teeth"), strict=True):
        assert warning == f"The structures around which {task} looks were not found: its result is empty."


def test_small_blobs_are_removed(models: KnownModels) -> None:
    image = scan({"liver": ((8, 9, 10), 4), "spleen": ((15, 16, 18), 2)})

    result = segment(stored(image), "total", TaskOptions(fast=True, small_blobs_mm3=600), models=models)

    def clean(labels: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
        for value in np.unique(labels[labels > 0]):
            blobs, count = ndimage.label(labels == value)
            for number in range(1, count + 1):
                if (blobs == number).sum() * np.prod(spacing) <= 600:
                    labels[blobs == number] = 0
        return labels

    assert np.array_equal(result.labels, steps(image, "total", "fast", step=0.8, clean=clean))
    assert label("total", "spleen") in found_in(steps(image, "total", "fast", step=0.8))
    assert found_in(result.labels) == [0, label("total", "liver")]


def test_pieces_are_predicted_one_by_one(models: KnownModels) -> None:
    image = scan({"liver": ((24, 8, 8), 8), "spleen": ((52, 8, 8), 7)}, (70, 16, 16), (1.5, 1.5, 1.5))

    result = segment(stored(image), "total", TaskOptions(force_split=True), models=models)

    third = [sitk.DICOMOrient(image, "RAS")[:, :, first:last] for first, last in ((0, 43), (4, 66), (27, 70))]
    found = [steps(sitk.DICOMOrient(piece, "LPS"), "total", step=0.8) for piece in third]
    glued = np.concatenate([found[0][:23], found[1][19:42], found[2][19:]])
    assert np.array_equal(result.labels, glued)
    assert not np.array_equal(result.labels, steps(image, "total", step=0.8))
    assert models.asked == [291, 292, 293, 294, 295]  # once each


def test_large_images_of_several_models_are_split(models: KnownModels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "MOST_VOXELS", 70 * 16 * 16 - 1)
    monkeypatch.setattr(parts_module, "FEW_SLICES", 69)
    image = stored(scan({"liver": ((24, 8, 8), 8)}, (70, 16, 16), (1.5, 1.5, 1.5)))
    report = ListReporter()

    segment(image, "total", models=models, report=report)
    several = [event["total"] for event in report.of("started")]
    report.events.clear()
    segment(image, "vertebrae_pp", models=models, report=report)

    assert several == [3] * 5
    assert [event["total"] for event in report.of("started")] == [1]


def test_vertebrae_are_renumbered_and_refined(models: KnownModels) -> None:
    image = scan(
        {"vertebrae_C2": ((5, 11, 12), 3), "vertebrae_C3": ((10, 11, 12), 2), "vertebrae_C1": ((16, 11, 12), 2)}
    )

    plain = segment(stored(image), "vertebrae_pp", models=models)
    report = ListReporter()
    refined = segment(stored(image), "vertebrae_pp_refined", models=models, report=report)

    raw, bodies = steps(image, "vertebrae_pp"), steps(image, "vertebrae_body")
    assert set(found_in(raw)) > {0}
    assert np.count_nonzero(plain.labels) > np.count_nonzero(raw)
    expected = refine_vertebrae(plain.labels, stored(image).geometry.spacing_mm, bodies == 1)
    assert 0 < np.count_nonzero(expected) < np.count_nonzero(plain.labels)
    assert np.array_equal(refined.labels, expected)
    assert refined.names == find_task("vertebrae_pp").classes
    assert models.asked == [803, 803, 305]
    stages = ["part 1 of 2", "part 2 of 2: vertebrae_body"]  # of one whole, for programs that show what is done of it
    assert [event["stage"] for event in report.of("started")] == stages


def test_order_of_version_1(models: KnownModels) -> None:
    image = scan(ABDOMEN)

    result = segment(stored(image), "total", TaskOptions(fast=True, v1_order=True), models=models)

    expected = np.zeros_like(result.labels)
    v2 = steps(image, "total", "fast", step=0.8)
    for number, name in load_catalogue().v1_classes.items():
        if name in TOTAL.structures:
            expected[v2 == label("total", name)] = number
    assert np.array_equal(result.labels, expected)
    assert result.names == load_catalogue().v1_classes
    assert {result.names[value] for value in found_in(result.labels)[1:]} == {"liver", "spleen", "aorta", "rib_left_1"}


def test_result_at_low_resolution(models: KnownModels) -> None:
    image = scan(ABDOMEN, code="LPS")

    result = segment(stored(image), "total", TaskOptions(fastest=True, low_resolution=True), models=models)

    assert result.working is not None
    assert np.array_equal(result.labels, result.working.labels[:, ::-1, ::-1])
    assert result.geometry.spacing_mm == (6.0, 6.0, 6.0)
    assert result.geometry.direction == stored(image).geometry.direction
    assert result.labels.shape == (11, 8, 8)


def test_higher_order_leaves_resampling_to_nnunet(models: KnownModels) -> None:
    image = scan(ABDOMEN)

    result = segment(stored(image), "total", TaskOptions(fast=True, higher_order=True), models=models)

    assert np.array_equal(result.labels, steps(image, "total", "fast", step=0.8, spacing=None))
    assert not np.array_equal(result.labels, steps(image, "total", "fast", step=0.8))


def test_nothing_found_for_the_crop(models: KnownModels) -> None:
    image = stored(scan({"body_extremities": ((8, 9, 10), 4)}))

    result = segment(image, "liver_vessels", models=models)

    assert not result.labels.any()
    assert (result.labels.shape, result.labels.dtype, result.working) == (image.shape, np.uint8, None)
    assert models.asked == [298]
    assert len(result.warnings) == 1


def test_structures_that_reach_the_crops_border_are_told(models: KnownModels) -> None:
    image = scan({"liver": ((14, 17, 10), 4)}, **LARGE)
    array = sitk.GetArrayFromImage(image)
    array[11:17, 14:20, 14:] = INTENSITIES["liver_vessels"]  # from the liver to the border of the image
    changed = sitk.GetImageFromArray(array)
    changed.CopyInformation(image)
    report = ListReporter()

    result = segment(stored(changed), "liver_vessels", models=models, report=report)

    (warning,) = report.of("warning")
    assert "liver_vessels" in warning["message"]
    assert "--robust_crop" in warning["hint"]
    assert len(result.warnings) == 1


def test_no_word_about_a_crop_that_ends_at_the_image(models: KnownModels) -> None:
    image = stored(scan({"liver": ((6, 6, 6), 6)}, (12, 12, 12)))

    assert segment(image, "liver_vessels", models=models).warnings == ()


def test_first_of_several_volumes_is_used(models: KnownModels) -> None:
    image = stored(scan(ABDOMEN))
    both = Volume(np.concatenate([image.array, np.zeros_like(image.array)]), image.geometry)

    result = segment(both, "total", TaskOptions(fast=True), models=models)

    assert np.array_equal(result.labels, segment(image, "total", TaskOptions(fast=True), models=models).labels)
    assert result.warnings == ("The image has 2 channels; only the first is used.",)


def test_2d_images_are_refused(models: KnownModels) -> None:
    flat = Volume(np.zeros((1, 1, 4, 4), np.int16), Geometry((999.0, 1.0, 1.0), (0.0, 0.0), (1.0, 0.0, 0.0, 1.0), 2))

    with pytest.raises(UserError, match="2D"):
        segment(flat, "total", models=models)


def test_nan_is_refused(models: KnownModels) -> None:
    image = Volume(np.full((1, 4, 4, 4), np.nan, np.float32), Geometry((3.0, 3.0, 3.0)))

    with pytest.raises(UserError, match="The image holds 64 voxels that are NaN"):
        segment(image, "total", models=models)
    with pytest.raises(UserError, match=r"ct\.nii holds 64 voxels"):
        segment(image, "total", models=models, name="ct.nii")


@pytest.mark.parametrize(("slices", "told"), [(1, True), (2, False)])
def test_one_slice_is_told(slices: int, told: bool, models: KnownModels) -> None:
    image = Volume(np.arange(slices * 64, dtype=np.int16).reshape(1, slices, 8, 8), Geometry((6.0,) * 3))

    warnings = segment(image, "total", TaskOptions(fastest=True), models=models, name="a.nii").warnings

    assert any("a.nii has one slice only" in warning for warning in warnings) == told


@pytest.mark.parametrize(
    ("task", "options", "factor", "spacing", "told"),
    [
        ("total", {"fast": True}, 0.001, 2.0, True),
        ("vertebrae_pp_refined", {}, 0.001, 2.0, True),  # two models see the image
        ("total", {"fast": True, "higher_order": True}, 0.001, 2.0, True),
        ("total", {"fast": True}, 0.001, 3.0, True),
        ("total_mr", {"fast": True}, 0.001, 2.0, True),
        ("total_mr", {"fast": True, "higher_order": True}, 0.001, 2.0, False),  # nothing is cut off
        ("total_mr", {"fast": True}, 0.001, 3.0, False),
        ("total", {"fast": True}, 1.0, 2.0, False),
    ],
)
def test_an_image_in_fractions_is_told_once(
    task: str, options: dict[str, Any], factor: float, spacing: float, told: bool, models: KnownModels
) -> None:
    image = stored(scan(ABDOMEN, spacing=(spacing,) * 3, kind=np.float32))
    image = Volume(image.array * np.float32(factor) + np.float32(0.25), image.geometry)

    warnings = segment(image, task, TaskOptions(**options), models=models, name="a.nii").warnings

    found = [warning for warning in warnings if "a.nii has fractions from -" in warning]
    assert len(found) == told
    assert all("Hounsfield" in warning for warning in found)


def test_fractions_of_a_part_are_not_told_again(models: KnownModels) -> None:
    """A rough crop sees the whole image, the task a part of it, which has another range."""
    image = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 4, 4, 4)
    run = _Run(models, "a.nii", silent, CancelToken())

    for part in (image, image[:, 1:3]):
        run.warn_of_fractions(part, part.astype(np.int16))

    (told,) = run.warnings
    assert "from 0 to 1;" in told


@pytest.mark.parametrize(("kind", "told"), [(np.float32, True), (np.int16, False)])
def test_an_image_of_which_one_whole_number_is_left(kind: type, told: bool, models: KnownModels) -> None:
    array = np.zeros((1, 12, 12, 12), kind)
    array[0, 5, 5, 5], array[0, 2, 2, 2] = 100, 0.5  # neither is seen at 6 mm

    warnings = segment(Volume(array, Geometry((1.0,) * 3)), "total", TaskOptions(fastest=True), models=models).warnings

    assert any("fractions from 0 to 100" in warning for warning in warnings) == told


def test_small_whole_numbers_are_no_fractions(models: KnownModels) -> None:
    array = np.random.default_rng(0).integers(0, 5, (1, 12, 12, 12)).astype(np.float32)

    assert segment(Volume(array, Geometry((2.0,) * 3)), "total", TaskOptions(fast=True), models=models).warnings == ()


@pytest.mark.parametrize(
    ("task", "options", "words"),
    [
        ("liver_vessels", {"subset": ("liver_tumor",)}, "can't be restricted"),
        ("total", {"subset": ("livr",)}, "livr"),
        ("total", {"order": 6}, "order is 6"),
        ("total", {"low_resolution": True}, "Only fast"),
        ("total", {"low_resolution": True, "fast": True, "subset": ("liver",)}, "low resolution"),
        ("total", {"small_blobs_mm3": -1}, "small blobs"),
        ("lung_vessels_of_nobody", {}, "no task"),
    ],
)
def test_options_that_do_not_go_together(task: str, options: dict[str, Any], words: str, models: KnownModels) -> None:
    with pytest.raises(UserError, match=words):
        segment(stored(scan(ABDOMEN)), task, TaskOptions(**options), models=models)


def test_stages_are_named_for_people(models: KnownModels) -> None:
    report = ListReporter()

    options = TaskOptions(subset=("liver", "spleen", "heart"))
    segment(stored(scan(ABDOMEN)), "total", options, models=models, report=report)

    stages = ["rough crop", "part 1 of 2: organs", "part 2 of 2: cardiac"]
    assert [event["stage"] for event in report.of("started")] == stages
    ends = [event for event in report.of("progress") if event["done"] == event["total"]]
    assert [event["stage"] for event in ends] == stages


def test_cancelled_runs_end() -> None:
    class Stopping(KnownModels):
        def get(self, part: Any) -> Any:
            token.cancel()
            return super().get(part)

    token, models = CancelToken(), Stopping()

    with pytest.raises(Cancelled):
        segment(stored(scan(ABDOMEN)), "total", models=models, cancel=token)
    assert models.asked == [291]


def with_weights(folder: Path, task: str, mode: str = "default", **more: Any) -> LoadedModels:
    make_task_weights(folder, task, mode, width=2, patch=(16, 16, 16), **more)  # type: ignore[arg-type]
    return LoadedModels(WeightsFolders((folder,)))


def test_folds_are_averaged(tmp_path: Path) -> None:
    models = with_weights(tmp_path, "aorta_annulus")
    upright = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)
    array = np.random.default_rng(0).integers(-300, 300, (1, 18, 20, 16), np.int16)
    image = Volume(array, Geometry((0.8, 0.8, 0.8), direction=upright))

    result = segment(image, "aorta_annulus", models=models)

    def labels(folds: list[int]) -> np.ndarray:
        model = load_model(next(tmp_path.glob("*/*")), folds=folds)
        seen = resample(image, (0.8, 0.8, 0.8))
        return predict_image(seen, model, mirror=False, step=0.5).labels.array[0]

    assert np.array_equal(result.labels, labels([0, 1, 2, 3, 4]))
    assert not np.array_equal(result.labels, labels([0]))


def test_models_are_read_once_per_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = with_weights(tmp_path, "total", "fastest")
    loads = []

    def counting(*args: Any, **more: Any) -> Model:
        loads.append(args)
        return load_model(*args, **more)

    monkeypatch.setattr(model_module, "load_model", counting)
    image = stored(scan(ABDOMEN))

    def subset(name: str) -> TaskResult:
        return segment(image, "total", TaskOptions(fastest=True, subset=(name,)), models=models)

    some = found_in(segment(image, "total", TaskOptions(fastest=True), models=models).labels)[-1]
    assert subset(TOTAL.classes[some]).labels.any()

    assert len(loads) == 1


def test_missing_weights_are_told_before_anything_is_done(tmp_path: Path) -> None:
    report = ListReporter()

    with pytest.raises(UserError, match=r"(?s)Dataset298.*Dataset008"):
        segment(stored(scan(ABDOMEN)), "liver_vessels", models=LoadedModels(WeightsFolders((tmp_path,))), report=report)
    assert report.events == []
