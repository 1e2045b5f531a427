from __future__ import annotations

import io
import json
import os
import pickle
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segautoconfiglib.base.errors import ProblemsError, UserError
from segautoconfiglib.defaults import EVALUATION
from segautoconfiglib.evaluation import ensemble
from segautoconfiglib.evaluation.ensemble import ensemble_folders, open_probabilities
from segautoconfiglib.image.files import read_labels

PLAIN: dict[str, Any] = {"background": 0, "liver": 1, "tumour": 2}
SHAPE = (2, 2, 3)
DIRECTION = (0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)


@pytest.fixture(autouse=True)
def few_voxels_at_once(monkeypatch):
    """So that even small volumes are read in several pieces, the last one shorter."""
    monkeypatch.setattr(ensemble, "EVALUATION", replace(EVALUATION, count_chunk_voxels=5))


def write(folder: Path, labels: dict[str, Any] = PLAIN, order: list[int] | None = None, **cases: np.ndarray) -> Path:
    """A folder as predicting with probabilities leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    description = {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 1, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(description | ({"regions_class_order": order} if order else {})))
    (folder / "plans.json").write_text('{"plans_name": "mine"}')
    for case, values in cases.items():
        np.savez_compressed(folder / f"{case}.npz", probabilities=values)
        properties = {
            "sitk_stuff": {"spacing": (1.0, 1.5, 3.0), "origin": (4.0, 5.0, 6.0), "direction": DIRECTION},
            "spacing": [3.0, 1.5, 1.0],
            "class_locations": {1: np.zeros((2, 4), np.int64)},
        }
        (folder / f"{case}.pkl").write_bytes(pickle.dumps(properties))
    return folder


def random_values(seed: int, channels: int = 3, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Multiples of 1/64, many of them equal."""
    return np.random.default_rng(seed).integers(0, 9, (channels, *shape)).astype(np.float32) / 64


def labels_in(folder: Path, case: str = "c") -> np.ndarray:
    return read_labels(folder / f"{case}.nii.gz").array[0]


class TestLabels:
    def test_largest_mean_wins_and_the_first_of_equal_ones(self, tmp_path):
        values = [random_values(seed) for seed in range(3)]
        folders = [write(tmp_path / f"m{index}", c=value) for index, value in enumerate(values)]
        (file,) = ensemble_folders(folders, tmp_path / "out", workers=1)
        assert file == tmp_path / "out" / "c.nii.gz"
        assert np.array_equal(labels_in(tmp_path / "out"), sum(values).argmax(0))

    def test_regions_are_written_in_their_order(self, tmp_path):
        labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "active": 3}
        high, low = np.full(SHAPE, 0.75, np.float32), np.full(SHAPE, 0.25, np.float32)
        first = np.stack([high, high, low])
        second = np.stack([high, low, low])
        second[1, 0], second[2, 0, 0] = 0.5, 0.8  # core: 0.625 there; active: 0.525
        folders = [write(tmp_path / str(n), labels, [3, 1, 2], c=v) for n, v in enumerate((first, second))]
        ensemble_folders(folders, tmp_path / "out", workers=1)
        expected = np.full(SHAPE, 3)
        expected[0] = 1
        expected[0, 0] = 2
        assert np.array_equal(labels_in(tmp_path / "out"), expected)

    def test_half_is_not_above_half(self, tmp_path):
        folder = write(tmp_path / "a", {"background": 0, "all": [1, 2], "x": 2}, [1, 2], c=np.full((2, *SHAPE), 0.5))
        ensemble_folders([folder, folder], tmp_path / "out", workers=1)
        assert not labels_in(tmp_path / "out").any()

    @pytest.mark.parametrize("kind", [np.float16, np.float64])
    def test_number_types(self, tmp_path, kind):
        values = random_values(3)
        folders = [write(tmp_path / "a", c=values.astype(kind)), write(tmp_path / "b", c=values)]
        ensemble_folders(folders, tmp_path / "out", workers=1)
        assert np.array_equal(labels_in(tmp_path / "out"), values.argmax(0))

    def test_last_axis_first(self, tmp_path):
        values = random_values(4)
        folders = [write(tmp_path / "a", c=np.asfortranarray(values)), write(tmp_path / "b", c=values)]
        ensemble_folders(folders, tmp_path / "out", workers=1, save_probabilities=True)
        assert np.array_equal(np.load(tmp_path / "out" / "c.npz")["probabilities"], values)


class TestFiles:
    def test_place_in_space_and_descriptions(self, tmp_path):
        folders = [write(tmp_path / name, c=random_values(1)) for name in "ab"]
        ensemble_folders(folders, tmp_path / "out", workers=1)
        geometry = read_labels(tmp_path / "out" / "c.nii.gz").geometry
        assert geometry.spacing_mm == (3.0, 1.5, 1.0)
        assert geometry.origin == (4.0, 5.0, 6.0)
        assert geometry.direction == DIRECTION
        assert json.loads((tmp_path / "out" / "plans.json").read_text()) == {"plans_name": "mine"}
        assert json.loads((tmp_path / "out" / "dataset.json").read_text())["labels"] == PLAIN
        names = {file.name for file in (tmp_path / "out").iterdir()}
        assert names == {"c.nii.gz", "plans.json", "dataset.json"}

    def test_mean_is_saved_as_numpy_saves_it(self, tmp_path):
        values = [random_values(seed) for seed in (5, 6)]
        folders = [write(tmp_path / str(index), **{"c.1": value}) for index, value in enumerate(values)]
        ensemble_folders(folders, tmp_path / "out", workers=1, save_probabilities=True)
        with np.load(tmp_path / "out" / "c.1.npz") as content:
            assert content.files == ["probabilities"]
            assert content["probabilities"].dtype == np.float32
            assert np.array_equal(content["probabilities"], (values[0] + values[1]) / 2)
        assert (tmp_path / "out" / "c.1.pkl").read_bytes() == (folders[0] / "c.1.pkl").read_bytes()
        ensemble_folders([tmp_path / "out", folders[0]], tmp_path / "again", workers=1)

    def test_memory_does_not_grow_with_the_classes(self, tmp_path, monkeypatch):
        monkeypatch.setattr(ensemble, "EVALUATION", replace(EVALUATION, count_chunk_voxels=2**12))
        labels = {"background": 0, **{f"l{n}": n for n in range(1, 24)}}
        values = random_values(7, 24, (48, 48, 48))
        folders = [write(tmp_path / name, labels, c=values) for name in "ab"]
        whole = values.nbytes
        del values
        tracemalloc.start()
        ensemble_folders(folders, tmp_path / "out", workers=1, save_probabilities=True)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < whole / 4


class TestRefused:
    @pytest.fixture
    def folders(self, tmp_path) -> list[Path]:
        return [write(tmp_path / name, c=random_values(1), d=random_values(2)) for name in "ab"]

    def refused(self, folders, tmp_path, kind: type[UserError] = UserError) -> str:
        with pytest.raises(kind) as caught:
            ensemble_folders(folders, tmp_path / "out", workers=1)
        return str(caught.value)

    def test_other_cases(self, folders, tmp_path):
        (folders[1] / "d.npz").unlink()
        text = self.refused(folders, tmp_path, ProblemsError)
        assert str(folders[1] / "d.npz") in text
        assert not (tmp_path / "out").exists()
        ensemble_folders(folders, tmp_path / "out", cases=["c"], workers=1)

    def test_other_shape(self, folders, tmp_path):
        write(folders[1], c=random_values(1, shape=(2, 2, 2)))
        assert "Case c: " in (text := self.refused(folders, tmp_path))
        assert "(3, 2, 2, 2)" in text

    def test_other_labels(self, folders, tmp_path):
        write(folders[1], {"background": 0, "liver": 1})
        assert "different labels" in self.refused(folders, tmp_path)

    def test_other_number_of_channels(self, folders, tmp_path):
        for folder in folders:
            write(folder, c=random_values(1, channels=4))
        assert "4 channels" in self.refused(folders, tmp_path)

    @pytest.mark.parametrize("keep", [0.6, 0.97, 0])
    def test_cut_off_file(self, folders, tmp_path, keep):
        file = folders[1] / "c.npz"
        content = file.read_bytes()
        file.write_bytes(content[: int(keep * len(content))])
        assert str(file) in self.refused(folders, tmp_path)
        assert not (tmp_path / "out" / "c.nii.gz").exists()

    def test_fewer_voxels_than_promised(self, folders, tmp_path):
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (3, *SHAPE)})
        with zipfile.ZipFile(folders[1] / "c.npz", "w") as archive:
            archive.writestr("probabilities.npy", header.getvalue() + bytes(100))
        assert "c.npz holds no usable probabilities: it ends early" in self.refused(folders, tmp_path)

    def test_damaged_content(self, folders, tmp_path):
        file = folders[1] / "c.npz"
        content = bytearray(file.read_bytes())
        middle = len(content) // 2
        content[middle - 20 : middle + 20] = bytes(40)
        file.write_bytes(content)
        assert str(file) in self.refused(folders, tmp_path)

    def test_other_content(self, folders, tmp_path):
        np.savez(folders[1] / "c.npz", something=np.zeros(3))
        assert str(folders[1] / "c.npz") in self.refused(folders, tmp_path)
        np.savez(folders[1] / "c.npz", probabilities=np.array([{}], object))
        assert "holds no usable probabilities" in self.refused(folders, tmp_path)

    def test_code_in_the_properties(self, folders, tmp_path):
        class Attack:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "attacked"),)

        (folders[0] / "c.pkl").write_bytes(pickle.dumps(Attack()))
        assert "refused" in self.refused(folders, tmp_path)
        assert not (tmp_path / "attacked").exists()

    def test_properties_without_geometry(self, folders, tmp_path):
        (folders[0] / "c.pkl").write_bytes(pickle.dumps({"spacing": [1.0]}))
        assert "c.pkl holds no usable probabilities" in self.refused(folders, tmp_path)

    def test_output_is_an_input(self, folders, tmp_path):
        with pytest.raises(UserError, match="one of the folders to average"):
            ensemble_folders(folders, folders[1])

    def test_no_probabilities_at_all(self, tmp_path):
        folder = write(tmp_path / "a")
        assert "no probabilities" in self.refused([folder, folder], tmp_path)


def test_stream_reads_on_where_it_stopped(tmp_path):
    values = random_values(8)
    folder = write(tmp_path / "a", c=values)
    with open_probabilities(folder / "c.npz") as stream:
        assert stream.shape == (3, *SHAPE)
        pieces = [stream.read(7), stream.read(20), stream.read(9)]
    assert np.array_equal(np.concatenate(pieces), values.ravel())


def test_folders_without_probabilities(tmp_path):
    full, empty = write(tmp_path / "full", c=random_values(0)), tmp_path / "empty"
    empty.mkdir()
    for folders in ([full, empty], [empty, full]):
        with pytest.raises(UserError) as caught:
            ensemble_folders(folders, tmp_path / "out")
        assert caught.value.message == f"There are no probabilities (.npz) in {empty}."
        assert "predict --save_probabilities" in caught.value.hint
    assert not (tmp_path / "out").exists()
