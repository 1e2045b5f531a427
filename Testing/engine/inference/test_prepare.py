"""How many cases are in memory at a time, and what is said where it does not suffice."""

from __future__ import annotations

import time
import weakref

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from segautoconfiglib.base.errors import UserError  # noqa: E402
from segautoconfiglib.dataset.dataset import list_cases  # noqa: E402
from segautoconfiglib.image.files import read_image  # noqa: E402
from segautoconfiglib.inference import cascade, prepare  # noqa: E402
from segautoconfiglib.inference.model import Model  # noqa: E402
from segautoconfiglib.inference.predictor import SlidingWindow  # noqa: E402
from segautoconfiglib.inference.prepare import memory_errors, prediction_bytes, prepare_case  # noqa: E402
from segautoconfiglib.inference.run import PredictOptions, load_model, predict_cases, predict_image  # noqa: E402
from segautoconfiglib.preprocessing.case import preprocess_case  # noqa: E402

pytestmark = pytest.mark.torch

PLENTY = 2**60
#: Floats that no computer has room for (4 PB).
TOO_MANY = 10**15


@pytest.mark.parametrize(("workers", "free", "most"), [(None, PLENTY, 2), (None, 0, 1), (0, PLENTY, 1)])
def test_the_next_case_is_prepared_meanwhile_only_where_the_memory_suffices(
    make_model, make_images, tmp_path, monkeypatch, workers, free, most
):
    model = load_model(make_model())
    cases = list_cases(make_images(4), ".nii.gz", 1)
    made, alive = [], []
    segment = Model.segment

    def counted(*arguments):
        case = preprocess_case(*arguments)
        made.append(weakref.ref(case.data))
        alive.append(sum(data() is not None for data in made))
        return case

    def patient(self, *arguments, **options):
        """Goes on when everything that may be prepared meanwhile is."""
        patient.calls += 1
        deadline = time.monotonic() + 30
        while len(made) < min(patient.calls + most - 1, len(cases)):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return segment(self, *arguments, **options)

    patient.calls = 0
    monkeypatch.setattr(cascade, "preprocess_case", counted)
    monkeypatch.setattr(prepare, "free_memory", lambda: free)
    monkeypatch.setattr(Model, "segment", patient)
    predict_cases(model, cases, tmp_path / "out", options=PredictOptions(workers=workers))
    assert alive == [1, most, most, most]


def test_the_estimate(make_model, make_images):
    model = load_model(make_model(spacing=(2.0, 1.0, 1.5)))
    [case] = list_cases(make_images(1), ".nii.gz", 1)
    _, record = prepare_case(case, model)
    sums, labels, activations = 3 * 8 * 12 * 10, 7 * 12 * 10, 2 * 2**17  # 3 classes, 2 features
    assert prediction_bytes(record, model) == 3 * 4 * sums + 3 * labels + 5 * 4 * activations


@pytest.mark.parametrize("fill", [lambda: torch.empty(TOO_MANY), lambda: np.empty(TOO_MANY, np.float32)])
def test_too_little_memory_for_the_network(make_model, make_images, tmp_path, monkeypatch, fill):
    model = load_model(make_model(transpose=(2, 0, 1)))
    cases = list_cases(make_images(1), ".nii.gz", 1)
    monkeypatch.setattr(SlidingWindow, "_logits", lambda self, tiles: fill())
    says = r"The memory did not suffice for an image of 7 x 12 x 10 voxels \(z, y, x\) and 3 classes\."
    with pytest.raises(UserError, match=f"^Case c0: {says}") as error:
        predict_cases(model, cases, tmp_path / "out")
    assert "Close other programs" in error.value.hint
    assert not (tmp_path / "out" / "c0.nii.gz").exists()
    with pytest.raises(UserError, match=f"^{says}"):
        predict_image(read_image(cases[0].images), model)


@pytest.mark.parametrize("workers", [None, 0])
def test_too_little_memory_for_reading(make_model, make_images, tmp_path, monkeypatch, workers):
    model = load_model(make_model())
    cases = list_cases(make_images(2), ".nii.gz", 1)

    def read(files):
        return np.empty(TOO_MANY, np.float32) if files == cases[1].images else read_image(files)

    monkeypatch.setattr(prepare, "read_image", read)
    with pytest.raises(UserError, match=r"c1: The memory did not suffice for an image of 7 x 12 x 10 voxels"):
        predict_cases(model, cases, tmp_path / "out", options=PredictOptions(workers=workers))
    assert (tmp_path / "out" / "c0.nii.gz").exists()


def test_which_memory_and_which_remedy():
    with (
        pytest.raises(UserError, match=r"The memory of cuda:1 did not suffice for an image of 1 x 2 x 3") as error,
        memory_errors(torch.device("cuda:1"), (1, 2, 3)),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    assert "--device cpu" in error.value.hint
    with pytest.raises(UserError) as error, memory_errors(torch.device("cuda:1"), (1, 2, 3)):
        np.empty(TOO_MANY, np.float32)
    assert "cpu" not in str(error.value)
    with pytest.raises(RuntimeError, match="shapes"), memory_errors(torch.device("cpu"), (1, 2, 3)):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
