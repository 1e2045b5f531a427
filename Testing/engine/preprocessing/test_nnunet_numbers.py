"""Real cases against nnunetv2 2.8.1 (make_nnunet_numbers.py)."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from segautoconfiglib.dataset.labels import LabelSpec
from segautoconfiglib.image.files import read_image, read_labels
from segautoconfiglib.planning.plans import Plans
from segautoconfiglib.preprocessing.case import preprocess_case

FIXTURES = Path(__file__).parent / "fixtures"
CASES = json.loads((FIXTURES / "cases.json").read_text())
EVERY = 151  # one voxel in so many was kept


@pytest.fixture(scope="module")
def numbers():
    with np.load(FIXTURES / "cases.npz") as file:
        return dict(file)


@pytest.mark.parametrize("index", range(len(CASES)), ids=[case["name"] for case in CASES])
def test_equal_to_nnunet(index, numbers, shared_data):
    case = CASES[index]
    plans = Plans.from_json(case["plans"], "plans")
    made = preprocess_case(
        read_image([shared_data / name for name in case["images"]]),
        read_labels(shared_data / case["label"]),
        plans,
        plans.configuration("test"),
        LabelSpec.from_json(case["labels"], case["regions_class_order"]),
    )
    assert np.abs(made.data.ravel()[::EVERY] - numbers[f"image {index}"]).max() < 1e-5
    assert (made.labels.ravel()[::EVERY] == numbers[f"labels {index}"]).all()
    values, counts = np.unique(made.labels, return_counts=True)
    expected_values, expected_counts = numbers[f"label counts {index}"]
    assert np.array_equal(values, expected_values)
    assert np.abs(counts - expected_counts).sum() <= 1e-4 * made.labels.size
    keys = [list(key) if isinstance(key, tuple) else key for key in made.class_locations]
    digests = [hashlib.sha256(rows.tobytes()).hexdigest() for rows in made.class_locations.values()]
    assert {"keys": keys, "digests": digests} == case["locations"]
    properties = made.record.to_properties()
    for key, expected in case["properties"].items():
        assert np.array_equal(properties[key], expected), key
