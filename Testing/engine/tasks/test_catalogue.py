"""The catalogue of tasks: numbers of TotalSegmentator 2.18.0, and what follows from them."""

from __future__ import annotations

from collections import Counter

import pytest

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.base.workspace import dataset_id
from segautoconfiglib.tasks.catalogue import Crop, find_task, load_catalogue

CATALOGUE = load_catalogue()
#: How many structures the tasks have.
STRUCTURES = {
    "total": 117, "total_v3": 117, "total_mr": 50, "headneck_muscles": 23, "lung_vessels": 4, "oculomotor_muscles": 19,
    "body": 2, "vertebrae_mr": 25, "vertebrae_pp": 24, "heartchambers_highres": 7, "appendicular_bones": 11,
    "brain_structures": 16, "head_glands_cavities": 19, "thigh_shoulder_muscles": 18, "ventricle_parts": 12,
    "liver_segments": 8, "abdominal_muscles": 22, "teeth": 77, "trunk_cavities": 4, "pulmonary_artery_landmarks": 7,
}  # fmt: skip


def test_there_are_all_tasks_and_modes() -> None:
    assert len(CATALOGUE.tasks) == len(CATALOGUE.by_name) == 51
    assert sum(len(task.modes) for task in CATALOGUE.tasks) == 59
    assert {name: len(find_task(name).classes) for name in STRUCTURES} == STRUCTURES
    assert len([task for task in CATALOGUE.tasks if task.licence]) == 18
    assert Counter(task.modality for task in CATALOGUE.tasks) == {"CT": 41, "MR": 10}
    assert len(CATALOGUE.v1_classes) == 104
    assert CATALOGUE.v1_classes[104] == "urinary_bladder"


@pytest.mark.parametrize("task", CATALOGUE.tasks, ids=lambda task: task.name)
def test_every_task_is_whole(task) -> None:
    assert "default" in task.modes
    wanted = list(range(1, len(task.classes) + len(task.auxiliary) + 1))
    for mode in task.modes.values():
        assert [label for part in mode.parts for label in part.labels.values()] == wanted
        assert len({(part.spacing_mm, part.folds) for part in mode.parts}) == 1
        assert mode.step == (0.8 if task.name in ("total", "total_v3", "total_mr") else 0.5)
        for part in mode.parts:
            published = CATALOGUE.datasets[part.dataset_id]
            assert dataset_id(published.folder) == part.dataset_id
            assert (CATALOGUE.download_address(part.dataset_id) is None) == task.licence
    assert len(set(task.structures)) == len(task.structures)
    crop = CATALOGUE.rough_crop(task)
    if crop is not None:
        assert set(crop.classes) <= set(find_task(crop.task).structures)
        assert crop.mode in find_task(crop.task).modes
    colours = [CATALOGUE.colour(name) for name in task.structures]
    assert len(set(colours)) == len(colours)
    assert all(0 <= value <= 255 for colour in colours for value in colour)


def test_parts_follow_each_other() -> None:
    total = find_task("total").mode()
    assert [part.dataset_id for part in total.parts] == [291, 292, 293, 294, 295]
    assert [(min(part.labels.values()), max(part.labels.values())) for part in total.parts] == [
        (1, 24), (25, 50), (51, 68), (69, 91), (92, 117)
    ]  # fmt: skip
    assert total.parts[1].labels[1] == 25
    assert total.parts[0].model_name == "nnUNetTrainerNoMirroring__nnUNetPlans__3d_fullres"
    assert [part.first for part in find_task("total_mr").mode().parts] == [1, 30]
    assert [part.first for part in find_task("headneck_muscles").mode().parts] == [1, 12]


def test_labels_stand_where_the_models_have_them() -> None:
    total = find_task("total")
    assert total.labels(["spleen", "liver", "sacrum", "heart", "humerus_left", "rib_left_1", "costal_cartilages"]) == [
        1, 5, 25, 51, 69, 92, 117
    ]  # fmt: skip
    assert (find_task("total_v3").label("vertebrae_L6"), total.label("vertebrae_S1")) == (26, 26)
    assert find_task("appendicular_bones").auxiliary == {12: "humerus", 13: "femur", 14: "liver", 15: "spleen"}
    assert find_task("face_mr").auxiliary == {2: "brain", 3: "liver"}
    assert find_task("appendicular_bones").mode().parts[0].count == 15


def test_spacing_is_given_from_z_to_x() -> None:
    assert find_task("lung_vessels").mode().spacing_mm == (1.0, 0.703125, 0.703125)
    assert find_task("brain_aneurysm").mode().spacing_mm == (0.5000016391277313, 0.390625, 0.390625)
    assert find_task("ventricle_parts").mode().spacing_mm == (1.0, 0.4345703125, 0.4384765625)
    assert find_task("cerebral_bleed").mode().spacing_mm is None
    assert find_task("brain_aneurysm").mode().folds is None
    assert find_task("aorta_annulus").mode().folds == (0, 1, 2, 3, 4)


def test_resolutions() -> None:
    total, body, teeth = find_task("total"), find_task("body"), find_task("teeth")
    assert [part.dataset_id for part in total.mode(fast=True).parts] == [297]
    assert [part.dataset_id for part in total.mode(fastest=True).parts] == [298]
    assert [part.dataset_id for part in body.mode(fastest=True).parts] == [300], "there is no coarser one"
    assert find_task("lung_vessels").mode(fast=True) == find_task("lung_vessels").mode()
    with pytest.raises(UserError, match="teeth has no fast form"):
        teeth.mode(fast=True)
    small = find_task("total_v3").mode(small=True)
    assert {part.plans for part in small.parts} == {"nnUNetResEncUNetLPlans_8"}
    with pytest.raises(UserError, match="total has no small models"):
        total.mode(small=True)


@pytest.mark.parametrize(
    ("name", "classes", "robust", "crop"),
    [
        ("total", (), False, None),
        ("total", ("liver",), False, ("total", "fastest", 20)),
        ("total", ("liver",), True, ("total", "fast", 20)),
        ("total_mr", ("liver",), False, ("total_mr", "fast", 20)),
        ("total_v3", ("liver",), False, ("total", "fastest", 20)),
        ("total_v3", ("liver", "vertebrae_L6"), False, ("total_v3", "fastest", 20)),
        ("cerebral_bleed", (), False, ("total", "fastest", 20)),
        ("cerebral_bleed", (), True, ("total", "fast", 20)),
        ("lung_vessels", (), False, ("total", "fast", 20)),
        ("liver_segments_mr", (), False, ("total_mr", "fast", 20)),
        ("abdominal_muscles", (), True, ("body", "fast", 20)),
        ("teeth", (), False, ("craniofacial_structures", "default", 10)),
    ],
)
def test_what_images_are_cropped_to(name: str, classes: tuple[str, ...], robust: bool, crop: tuple | None) -> None:
    found = CATALOGUE.rough_crop(find_task(name), classes, robust=robust)
    assert (found and (found.task, found.mode, found.addon_mm)) == crop
    if classes and found:
        assert found.classes == classes


def test_crop_to_the_body() -> None:
    classes = ("body_trunc", "body_extremities")
    assert CATALOGUE.body_crop() == Crop(task="body", mode="fast", classes=classes, addon_mm=3)


@pytest.mark.parametrize(
    ("name", "datasets"),
    [
        ("lung_vessels", [297, 117]),
        ("teeth", [298, 115, 113]),
        ("vertebrae_pp_refined", [803, 305]),
        ("liver_segments_mr", [852, 576]),
        ("abdominal_muscles", [300, 952]),
        ("total_mr", [850, 851]),
    ],
)
def test_models_that_a_task_takes(name: str, datasets: list[int]) -> None:
    task = find_task(name)
    parts = CATALOGUE.needed(task, task.mode(), CATALOGUE.rough_crop(task))
    assert [part.dataset_id for part in parts] == datasets


def test_unknown_names_get_near_ones() -> None:
    with pytest.raises(UserError, match=r"no task 'lung_vessel'\. Near: lung_vessels, lung_vessels_LEGACY"):
        find_task("lung_vessel")
    with pytest.raises(UserError, match=r"no structure 'livr', 'nose'\. Near: liver"):
        find_task("total").labels(["livr", "spleen", "nose"])
    with pytest.raises(UserError, match=r"Near: .*lung_vessels.* totalseg_info lists the tasks") as caught:
        find_task("lungs")
    assert "lung_nodules" in caught.value.message
    with pytest.raises(
        UserError, match=r"Near: lung_(upper|lower)_lobe_left.* totalseg_info -ta total lists its structures"
    ):
        find_task("total").label("lungleft")


def test_addresses() -> None:
    assert CATALOGUE.download_address(8) == (
        "https://github.com/wasserth/TotalSegmentator/releases/download/v2.4.0-weights/Dataset008_HepaticVessel.zip"
    )
    assert CATALOGUE.download_address(301) is None


def test_a_structure_has_one_colour_in_all_tasks() -> None:
    assert len(CATALOGUE.colours) == len(
        {name for task in CATALOGUE.tasks for name in task.structures}
        | {name for task in CATALOGUE.tasks for name in task.auxiliary_structures}
        | set(CATALOGUE.v1_structures)
    )
    assert CATALOGUE.colour("what nobody knows") == (128, 128, 128)
