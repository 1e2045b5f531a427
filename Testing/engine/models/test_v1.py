"""Models of nnU-Net 1: the same network, the same numbers, and nothing of the zip file that could run."""

from __future__ import annotations

import io
import json
import runpy
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from segautoconfiglib.base.cancel import CancelToken  # noqa: E402
from segautoconfiglib.base.context import Context  # noqa: E402
from segautoconfiglib.base.errors import UserError  # noqa: E402
from segautoconfiglib.base.events import ListReporter  # noqa: E402
from segautoconfiglib.base.workspace import Workspace  # noqa: E402
from segautoconfiglib.image.volume import Geometry, Volume  # noqa: E402
from segautoconfiglib.inference.model import load_model  # noqa: E402
from segautoconfiglib.models.folder import ModelFolder  # noqa: E402
from segautoconfiglib.models.v1 import v2_description, v2_plans, v2_targets  # noqa: E402
from segautoconfiglib.networks.build import build_network  # noqa: E402
from segautoconfiglib.networks.checkpoint import load_weights, nnunet_weights, read_checkpoint  # noqa: E402
from segautoconfiglib.networks.v1 import v2_weights  # noqa: E402
from segautoconfiglib.pipeline.models import import_models  # noqa: E402
from segautoconfiglib.preprocessing.case import preprocess_case  # noqa: E402

pytestmark = pytest.mark.torch
_MADE = runpy.run_path(str(Path(__file__).with_name("v1_model.py")))
GenericUNet, randomized, v1_plans, write_v1_zip = (
    _MADE[name] for name in ("GenericUNet", "randomized", "v1_plans", "write_v1_zip")
)
FEATURES = (4, 8, 16)


@pytest.fixture
def context(workspace: Workspace) -> Context:
    return Context(workspace, ListReporter(), CancelToken(), None)


def make(seed: int = 0, **options: Any) -> Any:
    return randomized(GenericUNet(1, 3, FEATURES, **options), seed)


@pytest.mark.parametrize("batch", [False, True])
def test_the_network_gives_the_same_numbers(batch: bool) -> None:
    old = make(batch=batch, convs=3)
    plans = v2_plans(v1_plans(conv_per_stage=3), "Dataset005_Tiny", "P", batch_norm=batch)
    architecture = plans.configuration("3d_fullres").architecture
    assert architecture.arch_kwargs["decoder_kernel_sizes"] == [[3, 3, 3], [3, 3, 3]]
    assert architecture.kernel_sizes[0] == (1, 3, 3)
    new = build_network(architecture, 1, 3, deep_supervision=True).eval()
    load_weights(new, v2_weights(old.state_dict(), "old"), "old")
    image = torch.randn(2, 1, 8, 16, 16)
    with torch.no_grad():
        for before, after in zip(old(image), new(image), strict=True):
            torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)


def test_equal_kernels_need_no_words_of_their_own() -> None:
    stage = {**v1_plans()["plans_per_stage"][0], "conv_kernel_sizes": [[3, 3, 3]] * 3}
    plans = v2_plans(v1_plans(plans_per_stage={0: stage}), "Dataset005_Tiny", "P")
    assert "decoder_kernel_sizes" not in plans.configuration("3d_fullres").architecture.arch_kwargs


def test_an_imported_model(context: Context, tmp_path: Path) -> None:
    networks = [make(1), make(2)]
    post = {"for_which_classes": [[1, 2], 2], "min_valid_object_sizes": "{}"}
    file = write_v1_zip(tmp_path / "v1.zip", networks, postprocessing_json=json.dumps(post).encode())
    (model,) = import_models(context, file)
    assert model.path == context.workspace.results / "Dataset005_Tiny" / "nnUNetTrainerV2__nnUNetPlansv2.1__3d_fullres"
    assert {entry.name for entry in model.path.rglob("*") if entry.is_file()} == {
        *("plans.json", "dataset.json", "model.json", "checkpoint_final.pth", "postprocessing.json")
    }
    content = json.loads((model.path / "crossval_results_folds_0_1" / "postprocessing.json").read_text())
    assert content["postprocessing_kwargs"] == [{"labels_or_regions": [1, 2]}, {"labels_or_regions": 2}]
    configuration = model.plans.configuration("3d_fullres")
    assert configuration.normalization_schemes == ("CTNormalization",)
    assert (configuration.spacing, configuration.patch_size) == ((2.0, 1.0, 1.0), (8, 16, 16))
    assert configuration.normalize_after_resampling
    assert configuration.average_probabilities
    assert model.plans.foreground_intensity_properties_per_channel["0"]["std"] == 40
    assert model.description.labels == {"background": 0, "class 1": 1, "class 2": 2}
    checkpoint = read_checkpoint(model.checkpoint(1))
    assert checkpoint["trainer_name"] == "nnUNetTrainer"
    assert checkpoint["inference_allowed_mirroring_axes"] == (0, 1, 2)
    assert checkpoint["network_weights"].keys() == nnunet_weights(load_model(model).networks[0]).keys()
    assert "somebody" not in "".join(file.read_text() for file in model.path.glob("*.json"))
    with pytest.raises(UserError, match="There is a model already"):
        import_models(context, file)
    import_models(context, file, overwrite=True)


def v1_prediction(networks: list[Any], image: np.ndarray) -> np.ndarray:
    """Mean of probabilities over folds and all mirrored images, for an image of one tile (channel, z, y, x)."""
    data, total = torch.from_numpy(image)[None], torch.zeros(())
    axes = [[a for bit, a in enumerate((2, 3, 4)) if number >> bit & 1] for number in range(8)]
    with torch.no_grad():
        for network in networks:
            for flips in axes:
                total = total + torch.softmax(network(data.flip(flips))[0], dim=1).flip(flips)
    return (total / (8 * len(networks)))[0].numpy()


def test_predictions_are_those_of_v1(context: Context, tmp_path: Path) -> None:
    """Normalised on the network's grid, probabilities averaged, and resampled as such."""
    networks = [make(1), make(2)]
    (folder,) = import_models(context, write_v1_zip(tmp_path / "v1.zip", networks))
    model = load_model(folder)
    rng = np.random.default_rng(0)
    image = rng.normal(80, 60, (1, 8, 16, 16)).astype(np.float32)
    volume = Volume(image, Geometry((2.0, 1.0, 1.0)))
    case = preprocess_case(volume, None, model.plans, model.configuration, None)
    np.testing.assert_allclose(case.data, (image.clip(1, 200) - 60) / 40, atol=1e-6)
    expected = v1_prediction(networks, case.data)
    probabilities = np.empty((3, 8, 16, 16), np.float32)
    labels = model.segment(case.data, case.record, probabilities=probabilities)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    np.testing.assert_array_equal(labels, expected.argmax(0))
    logits = replace(model, plans=_without_v1_keys(model.plans))
    logits.segment(case.data, case.record, probabilities=probabilities)
    assert np.abs(probabilities - expected).max() > 1e-3, "averages of logits are something else"


def _without_v1_keys(plans: Any) -> Any:
    content = plans.to_json()
    content["configurations"]["3d_fullres"]["average_probabilities"] = False
    return type(plans).from_json(content, "plans")


def test_normalising_after_resampling(context: Context, tmp_path: Path) -> None:
    (folder,) = import_models(context, write_v1_zip(tmp_path / "v1.zip", [make(1)]))
    content = folder.plans.to_json()
    entry = content["configurations"]["3d_fullres"]
    entry |= {"normalization_schemes": ["ZScoreNormalization"], "use_mask_for_norm": [True]}
    plans = type(folder.plans).from_json(content, "plans")
    image = np.zeros((1, 8, 16, 16), np.float32)
    image[:, :, 4:12, 4:12] = np.random.default_rng(0).normal(100, 9, (8, 8, 8))
    image[:, 0, 0, 0] = image[:, -1, -1, -1] = 50  # keeps the crop as large as the image
    case = preprocess_case(
        Volume(image, Geometry((4.0, 2.0, 2.0))), None, plans, plans.configuration("3d_fullres"), None
    )
    assert case.data.shape == (1, 16, 32, 32)
    inside = case.data[0] != 0
    assert 0 < inside.mean() < 0.5
    assert abs(case.data[0][inside].mean()) < 1e-3, "mean and deviation are those of the network's grid"
    assert abs(case.data[0][inside].std() - 1) < 1e-3


def test_two_stages_and_two_dimensions(context: Context, tmp_path: Path) -> None:
    stages = v1_plans()["plans_per_stage"]
    plans = v2_plans(v1_plans(plans_per_stage={0: stages[0], 1: stages[0]}), "Dataset005_Tiny", "P")
    assert plans.configuration_names == ("3d_lowres", "3d_fullres", "3d_cascade_fullres")
    assert plans.configuration("3d_cascade_fullres").previous_stage == "3d_lowres"
    flat = {
        **stages[0],
        "patch_size": np.array([16, 16]),
        "conv_kernel_sizes": [[3, 3]] * 3,
        "pool_op_kernel_sizes": [[2, 2]] * 2,
    }
    network = randomized(GenericUNet(1, 3, FEATURES, [[3, 3]] * 3, [[2, 2]] * 2), 0)
    place = "nnUNet/2d/Task012_Flat/nnUNetTrainerV2_noMirroring__nnUNetPlansv2.1"
    file = write_v1_zip(tmp_path / "2d.zip", [network], place, v1_plans(plans_per_stage={0: flat}))
    (model,) = import_models(context, file)
    assert model.path.parent.name == "Dataset012_Flat"
    assert model.plans.configuration("2d").spacing == (1.0, 1.0)
    assert read_checkpoint(model.checkpoint(0))["inference_allowed_mirroring_axes"] is None


def test_regions_and_postprocessing() -> None:
    description = v2_description(v1_plans(num_classes=3), "nnUNetTrainerV2BraTSRegions_DA4_BN")
    assert description.label_spec.foreground_regions == ((1, 2, 3), (2, 3), 3)
    assert description.regions_class_order == [1, 2, 3]
    assert v2_targets({"for_which_classes": []}, "f") == []
    with pytest.raises(UserError, match="below given sizes"):
        v2_targets({"for_which_classes": [1], "min_valid_object_sizes": "{1: 3.0}"}, "f")
    with pytest.raises(UserError, match="no postprocessing"):
        v2_targets([1], "f")


class Dangerous:
    def __reduce__(self) -> Any:
        import os

        return os.mkdir, ("ran",)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("plans", r"plans\.pkl is refused: it asks for .*mkdir"),
        ("keys", r"plans\.pkl is no plans file of nnU-Net 1 \(KeyError"),
        ("scheme", "normalises images by 'CT2'"),
        ("weights", "would run code"),
        ("network", r"another network than the U-Net of nnU-Net 1 \(it has stem"),
        ("shape", "do not fit this network"),
        ("place", "does not tell what it is"),
    ],
)
def test_bad_zips_leave_nothing(
    context: Context, tmp_path: Path, damage: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file, network, place, plans = tmp_path / "v1.zip", make(1), "3d_fullres/Task005_Tiny/T__P", v1_plans()
    if damage == "plans":
        plans["all_classes"] = Dangerous()
    elif damage == "keys":
        del plans["plans_per_stage"]
    elif damage == "scheme":
        plans["normalization_schemes"] = {0: "CT2"}
    elif damage == "network":
        network.stem = torch.nn.Linear(1, 1)
    elif damage == "shape":
        plans["base_num_features"] = 8
    elif damage == "place":
        place = "T__P"
    write_v1_zip(file, [network], place, plans)
    if damage == "weights":
        with zipfile.ZipFile(file) as old:
            members = {name: old.read(name) for name in old.namelist()}
        buffer = io.BytesIO()
        torch.save({"state_dict": Dangerous()}, buffer)
        members[f"{place}/fold_0/model_final_checkpoint.model"] = buffer.getvalue()
        with zipfile.ZipFile(file, "w") as new:
            for name, content in members.items():
                new.writestr(name, content)
    with pytest.raises(UserError, match=says):
        import_models(context, file)
    assert not (tmp_path / "ran").exists()
    assert not context.workspace.results.exists()


def test_without_torch_it_is_said(context: Context, tmp_path: Path) -> None:
    from segautoconfiglib.models import install

    file = write_v1_zip(tmp_path / "v1.zip", [make(1)])
    with pytest.raises(UserError, match="which only torch can read"):
        install.import_models(file, context.workspace)
    assert ModelFolder(tmp_path).folds() == []


@pytest.mark.parametrize(
    "content",
    [
        {"min_valid_object_sizes": "-" * 100_000 + "1"},
        {"min_valid_object_sizes": "(" * 100_000},
        {"for_which_classes": [float("inf")]},
    ],
    ids=["signs", "brackets", "infinite"],
)
def test_postprocessing_beyond_all_measure(content: Any) -> None:
    with pytest.raises(UserError, match="f is no postprocessing of nnU-Net 1"):
        v2_targets(content, "f")
