"""Pickle files from elsewhere."""

import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest

from segautoconfiglib.base.errors import UserError
from segautoconfiglib.preprocessing import safe_pickle
from segautoconfiglib.preprocessing.safe_pickle import load_pickle


class Attack:
    """Runs a command when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_and_arrays(tmp_path, protocol):
    value = {
        "numbers": [1, 2.5, None, True, "text", b"bytes"],
        "scalars": (np.float64(0.5), np.int64(3)),
        "array": np.arange(6).reshape(2, 3),
        "turned": np.asfortranarray(np.ones((2, 3), np.float32)),
        "texts": np.array(["a", "b"]),
        (1, 2): OrderedDict(a=1),
    }
    file = tmp_path / "x.pkl"
    file.write_bytes(pickle.dumps(value, protocol))
    found = load_pickle(file)
    assert found.keys() == value.keys()
    assert np.array_equal(found["array"], value["array"])
    assert np.array_equal(found["turned"], value["turned"])
    assert found["scalars"] == value["scalars"]
    assert found["numbers"] == value["numbers"]


def test_numpy_1_names(tmp_path):
    file = tmp_path / "x.pkl"
    content = pickle.dumps(np.arange(3), 2)
    file.write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert load_pickle(file).tolist() == [0, 1, 2]


@pytest.mark.parametrize("function", [os.system, eval, getattr, np.load])
def test_foreign_code_is_refused_and_not_run(tmp_path, function):
    trace = tmp_path / "trace"
    file = tmp_path / "x.pkl"
    arguments = (str(trace), "w") if function is getattr else (f"touch {trace}",)
    file.write_bytes(pickle.dumps({"harmless": 1, "attack": Attack(function, *arguments)}))
    with pytest.raises(UserError, match="refused"):
        load_pickle(file)
    assert not trace.exists()


def test_foreign_code_inside_an_array_is_refused(tmp_path):
    file = tmp_path / "x.pkl"
    file.write_bytes(pickle.dumps(np.array([Attack(os.system, "true")], dtype=object)))
    with pytest.raises(UserError, match="refused"):
        load_pickle(file)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        pickle.dumps({"a": np.arange(100)})[:-30],
        b"\x80\x04\x95" + b"\xff" * 8 + b".",  # a frame of 2**64 - 1 bytes
        b"\x80\x04\x8e" + b"\xff" * 8 + b".",  # as many bytes of data
    ],
)
def test_damaged_files(tmp_path, content):
    file = tmp_path / "x.pkl"
    file.write_bytes(content)
    with pytest.raises(UserError, match=str(file)):
        load_pickle(file)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="Can't read"):
        load_pickle(tmp_path / "x.pkl")


@pytest.mark.parametrize("error", [RecursionError, MemoryError, OverflowError])
def test_depths_and_lengths_that_can_not_be(tmp_path, monkeypatch, error):
    def load(self):
        raise error("too much")

    monkeypatch.setattr(safe_pickle._RestrictedUnpickler, "load", load, raising=False)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(1))
    with pytest.raises(UserError, match=rf"damaged \({error.__name__}: too much\)"):
        load_pickle(tmp_path / "x.pkl")
