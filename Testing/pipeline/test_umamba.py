"""Models of the original U-Mamba program, whose plans are those of a plain U-Net, and what is trained from them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segautoconfiglib.base.context import Context
from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.base.workspace import Workspace
from segautoconfiglib.image.files import read_labels
from segautoconfiglib.models.folder import ModelFolder
from segautoconfiglib.models.listing import model_details
from segautoconfiglib.pipeline.options import PlanOptions, TrainOptions

DATASET = "Dataset007_Test"
FAST = ("--fold", "all", "--epochs", 1, "--iterations", 1, "--device", "cpu", "--workers", 0)
NETWORKS = ("UMambaBot", "UMambaEnc")
Cli = Callable[..., Any]

pytestmark = pytest.mark.torch

#: Plans of nnU-Net 2.1, on which U-Mamba is based; the numbers of blocks are as it leaves them.
OLD_PLANS: dict[str, Any] = {
    "dataset_name": DATASET,
    "plans_name": "nnUNetPlans",
    "original_median_spacing_after_transp": [3.0, 1.0, 1.0],
    "original_median_shape_after_transp": [8, 20, 22],
    "image_reader_writer": "SimpleITKIO",
    "transpose_forward": [0, 1, 2],
    "transpose_backward": [0, 1, 2],
    "configurations": {
        "2d": {
            "data_identifier": "nnUNetPlans_2d",
            "preprocessor_name": "DefaultPreprocessor",
            "batch_size": 2,
            "patch_size": [16, 16],
            "median_image_size_in_voxels": [20.0, 22.0],
            "spacing": [1.0, 1.0],
            "normalization_schemes": ["ZScoreNormalization"],
            "use_mask_for_norm": [False],
            "UNet_class_name": "PlainConvUNet",
            "UNet_base_num_features": 4,
            "n_conv_per_stage_encoder": [2, 2, 1],
            "n_conv_per_stage_decoder": [2, 2],
            "num_pool_per_axis": [2, 2],
            "pool_op_kernel_sizes": [[1, 1], [2, 2], [2, 2]],
            "conv_kernel_sizes": [[3, 3], [3, 3], [3, 3]],
            "unet_max_num_features": 512,
            "resampling_fn_data": "resample_data_or_seg_to_shape",
            "resampling_fn_seg": "resample_data_or_seg_to_shape",
            "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
            "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None},
            "batch_dice": True,
        }
    },
    "experiment_planner_used": "ExperimentPlanner",
    "label_manager": "LabelManager",
    "foreground_intensity_properties_per_channel": {
        "0": {"max": 300.0, "mean": 200.0, "median": 200.0, "min": 80.0, "percentile_00_5": 90.0,
              "percentile_99_5": 290.0, "std": 40.0}
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def with_torch() -> None:
    pytest.importorskip("torch")


@pytest.fixture
def published(raw: Path, workspace: Path) -> Callable[[str], Path]:
    """``published("UMambaBot")``: a model folder as U-Mamba's program leaves it, with random weights."""

    def make(network: str) -> Path:
        import torch

        from segautoconfiglib.networks.build import build_network
        from segautoconfiglib.networks.checkpoint import nnunet_weights, write_checkpoint
        from segautoconfiglib.planning.architectures import as_umamba
        from segautoconfiglib.planning.plans import Plans

        torch.manual_seed(0)
        folder = workspace / "nnUNet_results" / DATASET / f"nnUNetTrainer{network}__nnUNetPlans__2d"
        folder.mkdir(parents=True)
        (folder / "plans.json").write_text(json.dumps(OLD_PLANS))
        shutil.copyfile(raw / "dataset.json", folder / "dataset.json")
        planned = Plans.load(folder / "plans.json").configuration("2d").architecture
        built = build_network(as_umamba(planned, network, (16, 16)), 1, 3, deep_supervision=True)
        content = {
            "network_weights": {f"_orig_mod.{name}": tensor for name, tensor in nnunet_weights(built).items()},
            "optimizer_state": {},
            "grad_scaler_state": None,
            "logging": {"mean_fg_dice": [0.5]},
            "_best_ema": None,
            "current_epoch": 1000,
            "init_args": {"plans": OLD_PLANS, "configuration": "2d", "fold": "all", "unpack_dataset": True},
            "trainer_name": f"nnUNetTrainer{network}",
            "inference_allowed_mirroring_axes": (0, 1),
        }
        write_checkpoint(folder / "fold_all" / "checkpoint_final.pth", content)
        return folder

    return make


def networks_of(folder: Path) -> tuple[str, Any]:
    """Class name and token widths in the plans of a model."""
    architecture = ModelFolder(folder).plans.configuration("2d").architecture
    return architecture.network_class_name, architecture.arch_kwargs.get("token_widths")


@pytest.mark.parametrize("network", NETWORKS)
def test_a_published_model_predicts_and_travels(
    published: Callable[[str], Path], raw: Path, cli: Cli, tmp_path: Path, network: str
) -> None:
    model = published(network)
    words = (*("-d", 7, "-c", "2d", "-f", "all", "-tr", f"nnUNetTrainer{network}", "--disable_tta"), "-device", "cpu")
    first = cli("nnUNetv2_predict", "-i", raw / "imagesTr", "-o", tmp_path / "A", *words)
    assert first.code == 0, first.err
    assert model_details(ModelFolder(model))["plan"]["network"] == network
    archive = tmp_path / "model.zip"
    assert cli("export-model", model, archive).code == 0
    shutil.rmtree(model)
    imported = cli("import-model", archive)
    assert imported.code == 0, imported.err
    assert cli("nnUNetv2_predict", "-i", raw / "imagesTr", "-o", tmp_path / "B", *words).code == 0
    labels = [read_labels(tmp_path / folder / "c0.nii.gz").array for folder in "AB"]
    assert (labels[0] == labels[1]).all()
    assert len({*labels[0].ravel().tolist()}) > 1


@pytest.mark.parametrize("network", NETWORKS)
def test_a_published_model_learns_on(published: Callable[[str], Path], cli: Cli, network: str) -> None:
    """Its network stays, also in the name of the new model; for Enc that of its weights, tied to the patch."""
    model = published(network)
    tokens = [None, None, 16] if network == "UMambaEnc" else None
    going_on = cli("train", 7, "--continue-from", model, *FAST, "--events", "jsonl")
    assert going_on.code == 0, going_on.err
    new = model.with_name(f"nnUNetTrainer{network}__nnUNetPlans_c1__2d")
    assert networks_of(new) == (network, tokens)
    assert going_on.of("metric")[0]["learning_rate"] < 1e-3
    (told,) = [event["message"] for event in going_on.of("log") if event["message"].startswith("Network: ")]
    assert told.startswith(f"Network: {network} in 2D, 4 to 16 features in 3 stages; patch 16 x 16 voxels at 1 x 1 mm")
    assert f"batch 2. With the plan of {model.name}; 1 epoch of 1 step with sgd" in told
    assert model_details(ModelFolder(new))["title"] == f"Test (2d, nnUNetPlans_c1, {network})"
    words = [word if word != 1 else 2 for word in FAST]
    more = cli("train", 7, "--continue-from", model, *words, "--resume", "--events", "jsonl")
    assert more.code == 0, more.err
    assert [row["epoch"] for row in more.of("metric")] == [1]
    words = [word if word != 1 else 3 for word in FAST]
    more = cli("train", 7, "-p", "nnUNetPlans_c1", *words, "--resume", "--events", "jsonl")
    assert [row["epoch"] for row in more.of("metric")] == [2], "its plans alone tell the network, too"


@pytest.mark.parametrize("network", NETWORKS)
def test_published_weights_to_start_from(
    published: Callable[[str], Path], cli: Cli, refused: Callable[..., str], workspace: Path, network: str
) -> None:
    model = published(network)
    assert cli("plan", 7).code == 0
    prepared = workspace / "nnUNet_preprocessed" / DATASET
    shutil.copyfile(model / "plans.json", prepared / "nnUNetPlans.json")
    file = model / "fold_all" / "checkpoint_final.pth"
    kept = model.rename(model.with_name("published"))
    file = kept / "fold_all" / file.name
    start = ("train", 7, "-c", "2d", *FAST, "--pretrained-weights", file)
    remedy = f"These are weights of {network}: train this network (--network {network})"
    refused(*start, says=["fit this network", remedy], may_write="nnUNet_preprocessed")
    first = cli(*start, "--network", network, "--events", "jsonl")
    assert first.code == 0, first.err
    assert model.is_dir(), "the model has the name of U-Mamba's trainer"
    assert networks_of(model) == (network, [None, None, 16] if network == "UMambaEnc" else None)
    words = [word if word != 1 else 2 for word in FAST]
    more = cli("train", 7, "-c", "2d", *words, "--network", network, "--resume", "--events", "jsonl")
    assert more.code == 0, more.err
    assert [row["epoch"] for row in more.of("metric")] == [1]


def test_plans_may_name_the_network(raw: Path, cli: Cli, workspace: Path) -> None:
    """Then the learning rate is U-Mamba's, too, without a word about it."""
    assert cli("plan", 7, "--planner", "umamba_bot").code == 0
    file = workspace / "nnUNet_preprocessed" / DATASET / "UMambaBotPlans.json"
    plans = json.loads(file.read_text())
    entry = plans["configurations"]["2d"]
    assert entry["architecture"]["network_class_name"] == "UMambaBot"
    options = entry["architecture"]["arch_kwargs"]
    options["features_per_stage"] = [4, 8, 8, 8, 8, 8, 8][: options["n_stages"]]
    entry["batch_size"] = 2
    file.write_text(json.dumps(plans))
    trained = cli("train", 7, "-c", "2d", "--planner", "umamba_bot", *FAST, "--events", "jsonl")
    assert trained.code == 0, trained.err
    assert trained.of("metric")[0]["learning_rate"] == 1e-3


def test_an_unknown_network_is_refused(trained: Path, refused: Callable[..., str]) -> None:
    words = ("train", 7, "-c", "3d_fullres", "-p", "tiny", *FAST)
    text = refused(
        *words, "--network", "UMambaBoot", says=["Unknown network 'UMambaBoot'. Near: UMambaBot", "--plugin"]
    )
    assert "Known: PlainConvUNet, ResidualEncoderUNet, UMambaBot, UMambaEnc." in text
    assert "in the plans" not in text
    refused(*words, "--network", "a.b", says=["network is 'a.b', but must be a class name"])


def test_in_a_given_time_the_usual_optimizer_is_taken() -> None:
    """The learning rate of U-Mamba's trainers is that of SGD; one that was asked for stays."""
    from segautoconfiglib.training.small_plans import small_recipe

    def made(**wishes: Any) -> tuple[str, float]:
        options = TrainOptions(**wishes)
        recipe = small_recipe(options.recipe(), options.chosen)
        assert recipe.network == "UMambaBot"
        return recipe.optimizer, recipe.learning_rate

    assert made(trainer="nnUNetTrainerUMambaBot") == ("muon", 8e-3)
    assert made(choices={"network": "UMambaBot"}) == ("muon", 8e-3)
    assert made(trainer="nnUNetTrainerUMambaBot_lr0.002") == ("muon", 2e-3)
    assert made(trainer="nnUNetTrainerUMambaBot_sgd") == ("sgd", 1e-3)
    assert made(choices={"network": "UMambaBot", "optimizer": "adamw"}) == ("adamw", 1e-3)


@pytest.mark.parametrize("network", NETWORKS)
def test_weights_of_other_networks_say_whose_they_are(trained: Path, refused: Callable[..., str], network: str) -> None:
    model = trained / "nnUNet_results" / DATASET / "nnUNetTrainer__tiny__3d_fullres"
    file = model / "fold_0" / "checkpoint_final.pth"
    words = ("train", 7, "-c", "3d_fullres", "-p", "tiny", *FAST, "--pretrained-weights", file, "--network", network)
    says = ["These are weights of PlainConvUNet: train this network (--network PlainConvUNet)"]
    refused(*words, says=says, may_write="nnUNet_preprocessed")
    refused(*words, "--adapt", "heads", says=says, may_write="nnUNet_preprocessed")


def told(workspace: Path, **wishes: Any) -> dict[str, list[str]]:
    """Warnings and other messages about a training, before it begins, and the name of its model."""
    from segautoconfiglib.pipeline.jobs import standard_job

    report = ListReporter()
    job = standard_job(Context(Workspace.at(workspace), report), DATASET, TrainOptions(configuration="2d", **wishes))
    texts = {kind: [event["message"] for event in report.of(kind)] for kind in ("warning", "log")}
    return {**texts, "model": [job.model_folder.name]}


def test_a_network_beside_another_in_plans_or_name(raw: Path, cli: Cli, workspace: Path) -> None:
    for planner in ("default", "umamba_bot"):
        assert cli("plan", 7, "--planner", planner).code == 0
    bot = PlanOptions(planner="umamba_bot")
    both = told(workspace, planning=bot, choices={"network": "UMambaEnc"})
    assert both["warning"] == [
        "UMambaBotPlans were planned for UMambaBot: patch and batch may be too large, or too small, for UMambaEnc "
        "(--planner umamba_enc plans for it)."
    ]
    assert both["model"] == ["nnUNetTrainerUMambaEnc__UMambaBotPlans__2d"]
    assert (
        told(workspace, planning=bot)["warning"] == told(workspace, choices={"network": "UMambaEnc"})["warning"] == []
    )
    named = told(workspace, trainer="nnUNetTrainerUMambaBot", choices={"network": "UMambaEnc"})
    assert named["log"] == [
        "The network is UMambaEnc, as asked for (--network), not UMambaBot as in nnUNetTrainerUMambaBot."
    ]
    assert named["model"] == ["nnUNetTrainerUMambaEnc__nnUNetPlans__2d"]
    same = told(workspace, trainer="nnUNetTrainerUMambaBot", choices={"network": "UMambaBot"})
    assert (same["log"], same["warning"]) == ([], [])


def test_what_is_trained_is_told_without_a_time_too(trained: Path, cli: Cli) -> None:
    words = ("train", 7, "-c", "3d_fullres", "-p", "tiny", "--batch-size", 3, *FAST, "--events", "jsonl")
    outcome = cli(*words)
    assert outcome.code == 0, outcome.err
    (text,) = [event["message"] for event in outcome.of("log") if event["message"].startswith("Network: ")]
    assert text.startswith("Network: PlainConvUNet in 3D, 8 to ")
    assert "mm (the median image has " in text
    assert text.endswith(
        "batch 3. As planned by ExperimentPlanner (tiny); 1 epoch of 1 step with sgd, learning rate 0.01 (poly)."
    )
