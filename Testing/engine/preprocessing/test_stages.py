"""Label maps from one stage of a cascade to the next, in nnU-Net's files."""

from __future__ import annotations

from pathlib import Path

import blosc2
import numpy as np
import pytest

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.planning.plans import Configuration
from segautoconfiglib.preprocessing.stages import PredictedStage, StackedLabels, one_hot, previous_stage, stage_model

LABELS = np.random.default_rng(0).integers(0, 3, (7, 12, 9)).astype(np.uint8)


@pytest.fixture
def stage(tmp_path: Path) -> PredictedStage:
    return PredictedStage(tmp_path / "nnUNetTrainer__plans__3d_lowres", "3d_cascade_fullres")


def test_files_are_nnunets(stage: PredictedStage) -> None:
    stage.save("a", LABELS, (8, 8, 8))
    file = stage.model_folder / "predicted_next_stage" / "3d_cascade_fullres" / "a.b2nd"
    stored = blosc2.open(str(file), mode="r", mmap_mode="r", dparams={"nthreads": 1})
    assert stored.shape == (7, 12, 9)
    assert stored.dtype == np.uint8
    assert np.array_equal(stored[:], LABELS)
    assert [path.name for path in file.parent.iterdir()] == ["a.b2nd"]


def test_nnunets_files_are_read(stage: PredictedStage) -> None:
    stage.folder.mkdir(parents=True)
    options = {"codec": blosc2.Codec.LZ4HC, "clevel": 8}
    blosc2.asarray(LABELS, urlpath=str(stage.file("b")), chunks=(7, 12, 9), blocks=(4, 4, 4), cparams=options)
    assert np.array_equal(stage.open("b")[2:5, :, 3:], LABELS[2:5, :, 3:])
    assert stage.shape("b") == (7, 12, 9)


def test_a_map_is_replaced_as_a_whole(stage: PredictedStage) -> None:
    stage.save("a", LABELS, (8, 8))
    reader = stage.open("a")
    stage.save("a", LABELS[:3], (8, 8))
    assert stage.shape("a") == (3, 12, 9)
    assert np.array_equal(reader[:], LABELS)


def test_what_is_missing_or_damaged(stage: PredictedStage) -> None:
    with pytest.raises(UserError, match=r"Case c has no prediction of the previous stage.*3d_lowres that holds it out"):
        stage.open("c")
    stage.save("a", LABELS, (8, 8, 8))
    stage.file("a").write_bytes(stage.file("a").read_bytes()[:50])
    with pytest.raises(UserError, match=r"a\.b2nd"):
        stage.open("a")
    assert stage.shape("a") is None
    assert stage.shape("c") is None


def test_where_a_stage_lies(tmp_path: Path) -> None:
    cascade = tmp_path / "T__P__3d_cascade_fullres"
    assert stage_model(cascade, "3d_lowres") == tmp_path / "T__P__3d_lowres"
    plain = Configuration.model_construct(previous_stage=None)
    assert previous_stage(cascade, "x", plain) is None
    found = previous_stage(cascade, "x", Configuration.model_construct(previous_stage="3d_lowres"))
    assert found == PredictedStage(tmp_path / "T__P__3d_lowres", "x")


def test_labels_as_channels() -> None:
    assert one_hot(np.array([[[0, 1, 2, -1]]]), (1, 2)).tolist() == [[[[0, 1, 0, 0]]], [[[0, 0, 1, 0]]]]
    stacked = StackedLabels(LABELS[None].astype(np.int16), 2 - LABELS)
    assert stacked.shape == (2, 7, 12, 9)
    assert stacked.nbytes == 4 * LABELS.size
    part = stacked[:, 1:3, 2:4, :]
    assert part.dtype == np.int16
    assert np.array_equal(part, np.stack([LABELS, 2 - LABELS])[:, 1:3, 2:4])
