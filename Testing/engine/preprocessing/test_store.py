"""Cases on disk."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import blosc2
import numpy as np
import pytest

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.image.volume import Geometry
from segautoconfiglib.preprocessing import store as module
from segautoconfiglib.preprocessing.case import PreprocessedCase
from segautoconfiglib.preprocessing.geometry import SpatialRecord
from segautoconfiglib.preprocessing.store import OWN_FOLDER, CaseStore

FIXTURES = Path(__file__).parent / "fixtures"
SHAPE = (5, 6, 7)


def make_case(value: float = 0.5) -> PreprocessedCase:
    record = SpatialRecord(
        Geometry((2.0, 1.0, 1.0)), (0, 1, 2), SHAPE, ((0, 5), (0, 6), (0, 7)), SHAPE, (2.0, 1.0, 1.0)
    )
    labels = np.zeros((1, *SHAPE), np.int16)
    labels[0, 1, 2, 3] = 1
    locations = {1: np.array([[0, 1, 2, 3]]), (1, 2): np.empty((0, 4), np.int64)}
    return PreprocessedCase(np.full((2, *SHAPE), value, np.float32), labels, record, locations)


def test_round_trip(tmp_path):
    store = CaseStore(tmp_path / "new" / "folder")
    assert store.case_ids() == []
    case = make_case()
    store.save("b", case, (4, 4, 4))
    store.save("a", case, (4, 4))
    assert store.case_ids() == ["a", "b"]
    found = store.open("b")
    assert np.array_equal(found.data[:], case.data)
    assert np.array_equal(found.labels[:], case.labels)
    assert found.data[1, 2:4, 3, 1:].shape == (2, 6)
    assert found.record == case.record
    assert found.class_locations.keys() == {1, (1, 2)}
    assert found.class_locations[1].tolist() == [[0, 1, 2, 3]]
    assert found.class_locations[1, 2].shape == (0, 4)


def test_files_are_those_of_nnunet(tmp_path):
    CaseStore(tmp_path).save("a", make_case(), (4, 4, 4))
    assert sorted(entry.name for entry in tmp_path.iterdir() if entry.is_file()) == ["a.b2nd", "a.pkl", "a_seg.b2nd"]
    image, labels = (blosc2.open(str(tmp_path / name)) for name in ("a.b2nd", "a_seg.b2nd"))
    assert (image.dtype, labels.dtype) == (np.float32, np.int16)
    assert image.chunks == (1, 5, 6, 6)
    assert image.cparams.codec == blosc2.Codec.ZSTD
    properties = pickle.loads((tmp_path / "a.pkl").read_bytes())
    assert properties["class_locations"][1, 2] == []
    assert properties["shape_after_cropping_and_before_resampling"] == SHAPE


def test_a_case_of_nnunet_is_read():
    store = CaseStore(FIXTURES / "nnunet_store", transpose=(0, 1, 2))
    assert store.case_ids() == ["case"]
    random = np.random.default_rng(0)
    found = store.open("case")
    assert np.array_equal(found.data[:], random.standard_normal((2, *SHAPE)).astype(np.float32))
    assert np.array_equal(found.labels[:], random.integers(-1, 3, (1, *SHAPE)))
    assert np.array_equal(found.class_locations[1], np.argwhere(found.labels[:] == 1))
    assert found.record.geometry == Geometry((2.0, 1.0, 0.5), (1.0, 2.0, 3.0))
    assert found.record.full_shape == (5, 8, 9)
    assert found.record.box == ((0, 5), (1, 7), (2, 9))
    assert found.record.network_spacing_mm == (2.0, 1.0, 0.5)


def test_the_filter_that_packs_better_is_chosen():
    random = np.random.default_rng(0)
    smooth = np.cumsum(random.standard_normal((1, 8, 64, 64)), axis=-1).astype(np.float32)
    coarse = random.integers(0, 3, (1, 8, 64, 64)).astype(np.float32)[..., :1].repeat(64, axis=-1) / 3
    block = (1, 8, 32, 32)
    assert module._better_filter(smooth, block) == blosc2.Filter.SHUFFLE
    assert module._better_filter(coarse, block) == blosc2.Filter.NOFILTER


@pytest.mark.parametrize("missing", ["a.pkl", "a_seg.b2nd", "a.b2nd"])
def test_a_case_counts_only_when_whole(tmp_path, missing):
    store = CaseStore(tmp_path)
    store.save("a", make_case(), (4, 4, 4))
    (tmp_path / missing).unlink()
    assert store.case_ids() == []
    store.remove_unfinished()
    assert [entry.name for entry in tmp_path.iterdir()] == [OWN_FOLDER]


def test_a_process_killed_while_writing_leaves_no_case(tmp_path):
    code = f"""
import os, pickle, sys
sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}
from test_store import make_case
from segautoconfiglib.preprocessing import store
store.pickle = type("Killed", (), {{"dumps": lambda properties: os._exit(9)}})
store.CaseStore({str(tmp_path)!r}).save("a", make_case(), (4, 4, 4))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    store = CaseStore(tmp_path)
    assert store.case_ids() == []
    assert list(tmp_path.glob("*")) == [tmp_path / OWN_FOLDER]
    assert list((tmp_path / OWN_FOLDER).iterdir())
    store.remove_unfinished()
    assert not list((tmp_path / OWN_FOLDER).iterdir())


def test_a_failed_overwrite_keeps_the_old_case(tmp_path, monkeypatch):
    store = CaseStore(tmp_path)
    store.save("a", make_case(1), (4, 4, 4))

    def full(*arguments, **options):
        raise RuntimeError("No space left on device")

    monkeypatch.setattr(module.blosc2, "asarray", full)
    with pytest.raises(UserError, match=r"case a.*No space left"):
        store.save("a", make_case(2), (4, 4, 4))
    monkeypatch.undo()
    assert store.open("a").data[0, 0, 0, 0] == 1
    assert not list((tmp_path / OWN_FOLDER).iterdir())


def test_overwriting(tmp_path):
    store = CaseStore(tmp_path)
    store.save("a", make_case(1), (4, 4, 4))
    store.save("a", make_case(2), (4, 4, 4))
    assert store.open("a").data[0, 0, 0, 0] == 2


def test_a_name_ending_like_a_label_file_is_no_trouble(tmp_path):
    store = CaseStore(tmp_path)
    store.save("a", make_case(1), (4, 4, 4))
    store.save("b_seg", make_case(2), (4, 4, 4))
    assert store.case_ids() == ["a", "b_seg"]
    store.remove_unfinished()
    assert store.open("b_seg").data[0, 0, 0, 0] == 2


@pytest.mark.parametrize("old", ["a.npz", "a.npy", "a_seg.npy"])
def test_a_folder_of_an_older_nnunet_is_refused(tmp_path, old):
    store = CaseStore(tmp_path / "plans_3d")
    store.check_format()
    store.save("b", make_case(1), (4, 4, 4))
    store.check_format()
    (store.folder / old).touch()
    with pytest.raises(UserError, match=rf"plans_3d holds cases .* before 2\.6 \({old}\)"):
        store.check_format()


def test_an_unknown_case(tmp_path):
    with pytest.raises(UserError, match="no case 'x'"):
        CaseStore(tmp_path).open("x")


def test_a_damaged_case(tmp_path):
    store = CaseStore(tmp_path)
    store.save("a", make_case(), (4, 4, 4))
    (tmp_path / "a.b2nd").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"a\.b2nd"):
        store.open("a")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user whom permissions stop")
def test_no_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="permissions"):
        CaseStore(tmp_path).save("a", make_case(), (4, 4, 4))


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(UserError, match="Can't write case a"):
        CaseStore(tmp_path / "x").save("a", make_case(), (4, 4, 4))
