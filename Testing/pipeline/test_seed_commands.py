"""The command lines that users of nnU-Net and TotalSegmentator type, as tutorials print them, on tiny data.

Upper-case words of the tutorials are filled in. What is appended only shortens the work (one epoch of two steps).
"""

from __future__ import annotations

import json
import shlex
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import SimpleITK as sitk

from segautoconfiglib.cli.main import main
from segautoconfiglib.image.files import read_labels, write_labels
from segautoconfiglib.image.label_names import read_label_names

pytestmark = pytest.mark.torch

SHORT = ("--epochs", "1", "--iterations", "2", "--workers", "0")
FOLDS = range(5)
LOWRES, CASCADE = "3d_lowres", "3d_cascade_fullres"


class Typist:
    """Runs command lines in one workspace."""

    def __init__(self, workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.workspace = workspace
        self._capsys = capsys

    def __call__(self, line: str, *more: str, code: int = 0, says: str = "") -> str:
        """Run a line; returns what it printed. Fails if it ends otherwise than with ``code``, saying ``says``."""
        self._capsys.readouterr()
        found = main([*shlex.split(line), *more, "--workspace", str(self.workspace)])
        printed = "".join(self._capsys.readouterr())
        assert found == code, f"{line}\n{printed}"
        assert says in printed, f"{line}\n{printed}"
        return printed

    def dataset(self, name: str) -> Path:
        """The preprocessed folder of a dataset."""
        return self.workspace / "nnUNet_preprocessed" / name

    def model(self, dataset: str, configuration: str, trainer: str = "nnUNetTrainer") -> Path:
        return self.workspace / "nnUNet_results" / dataset / f"{trainer}__nnUNetPlans__{configuration}"


def shrink(plans_file: Path, *, cascade: bool = False) -> None:
    """What users do in plans.json: small networks and patches; with a cascade made by hand."""
    plans = json.loads(plans_file.read_text())
    for configuration in plans["configurations"].values():
        if "architecture" not in configuration:
            continue
        options = configuration["architecture"]["arch_kwargs"]
        stages = options["n_stages"]
        options["features_per_stage"] = [4, 8, 8, 8, 8, 8, 8][:stages]
        options["n_conv_per_stage"], options["n_conv_per_stage_decoder"] = [1] * stages, [1] * (stages - 1)
        configuration["batch_size"] = 2
    if cascade:
        plans["configurations"][LOWRES] = {
            "inherits_from": "3d_fullres", "data_identifier": "nnUNetPlans_3d_lowres", "spacing": [4.5, 1.5, 1.5],
            "next_stage": CASCADE,
        }  # fmt: skip
        plans["configurations"][CASCADE] = {"inherits_from": "3d_fullres", "previous_stage": LOWRES}
    plans_file.write_text(json.dumps(plans))


def other_folds(model: Path) -> None:
    """Folds 1 to 4 as copies of fold 0: their training would show nothing new."""
    for fold in FOLDS[1:]:
        target = model / f"fold_{fold}"
        target.mkdir()
        for file in (model / "fold_0").glob("*.*"):
            shutil.copyfile(file, target / file.name)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which the files of a folder can be had."""
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def typed(workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Typist:
    """Runs command lines in the folder that holds the workspace; processes only where a line asks for them."""
    monkeypatch.setattr("segautoconfiglib.base.parallel.usable_cores", lambda: 1)
    workspace.parent.mkdir(exist_ok=True)
    monkeypatch.chdir(workspace.parent)
    return Typist(workspace, capsys)


def copy_inputs(raw: Path, place: Path) -> None:
    for folder, source in (("IN", "imagesTr"), ("TRUTH", "labelsTr")):
        (place / folder).mkdir()
        for case in ("c0", "c1"):
            for file in (raw / source).glob(f"{case}*"):
                shutil.copyfile(file, place / folder / file.name)


def as_task(raw: Path, task: Path, *, channel_suffix: bool) -> None:
    """A raw dataset in the form of the Decathlon, or of nnU-Net v1."""
    shutil.copytree(raw / "labelsTr", task / "labelsTr")
    (task / "imagesTr").mkdir(parents=True)
    for file in (raw / "imagesTr").iterdir():
        name = file.name if channel_suffix else file.name.replace("_0000", "")
        shutil.copyfile(file, task / "imagesTr" / name)
    cases = sorted(file.name for file in (task / "labelsTr").iterdir())
    content = {
        "name": task.name,
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "organ", "2": "core"},
        "numTraining": len(cases),
        "training": [{"image": f"./imagesTr/{case}", "label": f"./labelsTr/{case}"} for case in cases],
        "test": [],
    }
    (task / "dataset.json").write_text(json.dumps(content))


def test_nnunet_v2(raw: Path, typed: Typist) -> None:
    place, main_dataset = typed.workspace.parent, "Dataset004_Main"
    copy_inputs(raw, place)
    as_task(raw, place / "Task05_New", channel_suffix=False)
    as_task(raw, place / "Task220_Old", channel_suffix=True)
    for name in ("Dataset131_A", main_dataset):
        shutil.copytree(raw, raw.parent / name)

    typed("nnUNetv2_convert_MSD_dataset -i Task05_New -overwrite_id 02")
    typed("nnUNetv2_convert_old_nnUNet_dataset Task220_Old Dataset220_Old")
    typed("nnUNetv2_extract_fingerprint -d 220")
    typed("nnUNetv2_plan_experiment -d 220")
    typed("nnUNetv2_plan_and_preprocess -h", says="--verify_dataset_integrity")
    typed("nnUNetv2_plan_and_preprocess -d 131 --verify_dataset_integrity")
    typed("nnUNetv2_plan_and_preprocess -d 4 --verify_dataset_integrity --clean -c 3d_fullres")
    typed("nnUNetv2_preprocess -d 220 -plans_name nnUNetPlans")
    typed("nnUNetv2_plan_and_preprocess -d 2", "-c", "2d")
    typed("nnUNetv2_move_plans_between_datasets -s 131 -t 220 -sp nnUNetPlans -tp nnUNetPlans_131")
    for name in ("Dataset131_A", "Dataset002_New", "Dataset220_Old", main_dataset):
        shrink(typed.dataset(name) / "nnUNetPlans.json", cascade=name == main_dataset)

    typed("nnUNetv2_train 131 3d_fullres 1", *SHORT)
    typed("nnUNetv2_train 131 3d_fullres 1 --c", *SHORT)
    gpus = typed("nnUNetv2_train 220 2d 0 -num_gpus 2", *SHORT, code=_code_of_two_gpus())
    assert "GPU" in gpus
    typed("nnUNetv2_train 002 2d 0 -tr nnUNetTrainerCosAnneal", *SHORT)
    weights = typed.model("Dataset131_A", "3d_fullres") / "fold_1" / "checkpoint_final.pth"
    typed(f"nnUNetv2_train 4 3d_fullres 0 -pretrained_weights {weights}", *SHORT)
    typed("nnUNetv2_train 4 2d 0", *SHORT)
    typed(f"nnUNetv2_train 4 {LOWRES} 0 --npz", *SHORT)
    typed("nnUNetv2_train 131 2d all -p nnUNetPlans", *SHORT)
    for configuration in ("2d", LOWRES, "3d_fullres"):
        other_folds(typed.model(main_dataset, configuration))
        for fold in FOLDS:
            typed(f"nnUNetv2_train 4 {configuration} {fold} --val --npz", "--workers", "0")
    typed(f"nnUNetv2_train {main_dataset} {CASCADE} 0 --npz", *SHORT)

    typed(f"nnUNetv2_accumulate_crossval_results 4 -c {CASCADE} -f 0")
    typed("nnUNetv2_find_best_configuration 4 -c 2d 3d_lowres 3d_fullres -f 0 1 2 3 4", says="nnUNetv2_predict")
    merged = typed.model(main_dataset, "2d") / "crossval_results_folds_0_1_2_3_4"
    typed(f"nnUNetv2_determine_postprocessing -i {merged} -ref {raw / 'labelsTr'}")

    typed("nnUNetv2_predict -i IN -o OUT -d 131 -c 3d_fullres -f 1", "--disable_tta")
    typed("nnUNetv2_predict -i IN -o OUT_B -d 4 -c 3d_fullres -f 0 1 2 3 4", "--disable_tta", "--save_probabilities")
    typed(
        "nnUNetv2_predict -d 4 -i IN -o OUT_A -f 0 1 2 3 4 -tr nnUNetTrainer -c 2d -p nnUNetPlans --save_probabilities"
    )
    typed("nnUNetv2_predict -i IN -o OUT_C -d 131 -c 2d -f all -tr nnUNetTrainer --disable_tta")
    typed(f"nnUNetv2_predict -i IN -o OUT_D -d 4 -c {CASCADE} -f 0", "--disable_tta")
    typed(f"nnUNetv2_predict_from_modelfolder -i IN -o OUT_E -m {typed.model(main_dataset, '2d')}", "--disable_tta")
    typed("nnUNetv2_ensemble -i OUT_A OUT_B -o OUT_F -np 8")
    typed(f"nnUNetv2_apply_postprocessing -i OUT_F -o OUT_G -pp_pkl_file {merged / 'postprocessing.pkl'}")
    files = {file.name for file in (place / "OUT_G").glob("*.nii.gz")}
    assert files == {"c0.nii.gz", "c1.nii.gz"}
    for output in "ACDEF":
        assert {file.name for file in (place / f"OUT_{output}").glob("*.nii.gz")} == files
    typed("nnUNetv2_evaluate_folder TRUTH OUT_G -djfile OUT_A/dataset.json -pfile OUT_A/plans.json", says="c0")
    typed("nnUNetv2_evaluate_simple TRUTH OUT_G -l 1 2", says="label 1")

    typed("nnUNetv2_export_model_to_zip -d 4 -o model.zip -c 2d -f 0")
    shutil.rmtree(typed.workspace / "nnUNet_results" / main_dataset)
    typed("nnUNetv2_install_pretrained_model_from_zip model.zip")
    shutil.rmtree(typed.workspace / "nnUNet_results" / main_dataset)
    with served(place) as address:
        typed(f"nnUNetv2_download_pretrained_model_by_url {address}/model.zip")
    assert (typed.model(main_dataset, "2d") / "fold_0" / "checkpoint_final.pth").is_file()
    typed("nnUNetv2_plot_overlay_pngs -d 131 -o PNG")
    typed("nnUNetv2_plot_overlay_pngs -d 131 -o PNG_raw --use_raw", "-overlay_intensity", "0.3")
    assert len(list((place / "PNG").glob("c?.png"))) == len(list((place / "PNG_raw").glob("c?.png"))) == 5


@pytest.mark.parametrize("trainer", ["nnUNetTrainerUMambaBot", "nnUNetTrainerUMambaEnc"])
def test_umamba(raw: Path, typed: Typist, trainer: str) -> None:
    place = typed.workspace.parent
    copy_inputs(raw, place)
    typed("nnUNetv2_plan_and_preprocess -d 7 --verify_dataset_integrity")
    shrink(typed.dataset(raw.name) / "nnUNetPlans.json")
    for configuration in ("2d", "3d_fullres"):
        printed = typed(f"nnUNetv2_train 7 {configuration} all -tr {trainer}", *SHORT)
        assert ("UMambaEnc is experimental" in printed) is trainer.endswith("Enc")
        assert "NaN" not in printed
        out = f"OUT_{configuration}"
        typed(f"nnUNetv2_predict -i IN -o {out} -d 7 -c {configuration} -f all -tr {trainer} --disable_tta")
        assert {file.name for file in (place / out).glob("*.nii.gz")} == {"c0.nii.gz", "c1.nii.gz"}


def _code_of_two_gpus() -> int:
    import torch

    return 0 if torch.cuda.device_count() >= 2 else 2


def test_nnunet_v1(raw: Path, typed: Typist) -> None:
    place, dataset = typed.workspace.parent, "Dataset507_Prostate"
    copy_inputs(raw, place)
    as_task(raw, place / "Task05_Prostate", channel_suffix=False)
    as_task(raw, typed.workspace / "nnUNet_raw_data" / "Task099_MYTASK", channel_suffix=True)

    typed("nnUNet_convert_decathlon_task -i Task05_Prostate -p 8")
    typed("nnUNet_convert_decathlon_task -i Task05_Prostate -p 8 -output_task_id 507", says="nnUNetv2_convert_MSD")
    typed("nnUNet_train 2d nnUNetTrainerV2 Task099_MYTASK 0", code=2, says="nnUNet_plan_and_preprocess -t 99")
    typed("nnUNet_plan_and_preprocess -t 099 --verify_dataset_integrity")
    typed("nnUNet_plan_and_preprocess -t 507 --verify_dataset_integrity")
    for name in ("Dataset099_MYTASK", dataset):
        shrink(typed.dataset(name) / "nnUNetPlans.json", cascade=name == dataset)
    shutil.rmtree(typed.workspace / "nnUNet_raw_data")

    typed("nnUNet_train 2d nnUNetTrainerV2 Task099_MYTASK 0 --npz", *SHORT)
    typed("nnUNet_train 2d nnUNetTrainerV2 99 all --fp32 --disable_saving", *SHORT)
    typed("nnUNet_train 2d nnUNetTrainerV2_noMirroring 99 0", *SHORT, says="nnUNetTrainer_NoMirroring")
    for configuration in ("3d_fullres", "2d", LOWRES):
        typed(f"nnUNet_train {configuration} nnUNetTrainerV2 Task507_Prostate 0 --npz", *SHORT)
        other_folds(typed.model(dataset, configuration))
        for fold in FOLDS[1:]:
            typed(f"nnUNet_train {configuration} nnUNetTrainerV2 507 {fold} -val --npz", "--workers", "0")
    weights = typed.model(dataset, "2d") / "fold_0" / "checkpoint_final.pth"
    typed(f"nnUNet_train 2d nnUNetTrainerV2 507 all -p nnUNetPlansv2.1 -pretrained_weights {weights}", *SHORT)
    typed("nnUNet_train 2d nnUNetTrainerV2 507 0 -c", *SHORT)
    typed(f"nnUNet_train {CASCADE} nnUNetTrainerV2CascadeFullRes 507 0 --npz", *SHORT)
    other_folds(typed.model(dataset, CASCADE))
    for fold in FOLDS[1:]:
        typed(f"nnUNet_train {CASCADE} nnUNetTrainerV2CascadeFullRes 507 {fold} -val --npz", "--workers", "0")
    typed("nnUNet_train_DP 2d nnUNetTrainerV2_DP 099 1 -gpus 1 --dbs", *SHORT)

    typed("nnUNet_find_best_configuration -m 2d 3d_fullres 3d_lowres 3d_cascade_fullres -t 507", says="predict")
    typed("nnUNet_determine_postprocessing -tr nnUNetTrainerV2 -t 507 -m 3d_fullres")
    typed("nnUNet_predict -i IN -o OUT_A -t 507 -m 3d_fullres -f 0 --save_npz")
    typed("nnUNet_predict -i IN -o OUT_B -t Task507_Prostate -m 2d -f 0 -z", "--disable_tta")
    typed(f"nnUNet_predict -i IN -o OUT_D -t Task507_Prostate -m {CASCADE} -f 0", "--disable_tta")
    kept = place / "OUT_B" / "c0.nii.gz"
    labels = read_labels(kept)
    write_labels(labels.array[0] * 0, kept, labels.geometry)
    typed("nnUNet_predict -i IN -o OUT_B -t 507 -m 2d -f 0 -z", "--disable_tta")
    assert not read_labels(kept).array.any(), "v1 does not make anew what is there"
    typed("nnUNet_predict -i IN -o OUT_B -t 507 -m 2d -f 0 -z --overwrite_existing", "--disable_tta")
    results = typed.model(dataset, "3d_fullres") / "crossval_results_folds_0_1_2_3_4"
    typed(f"nnUNet_ensemble -f OUT_A OUT_B -o OUT_C -pp {results / 'postprocessing.json'}")
    assert len(list((place / "OUT_C").glob("*.nii.gz"))) == 2
    assert len(list((place / "OUT_C" / "not_postprocessed").glob("*.nii.gz"))) == 2
    typed("nnUNet_evaluate_folder -ref TRUTH -pred OUT_C -l 0 1 2", says="label 2")

    typed("nnUNet_export_model_to_zip -t 507 -o model.zip -m 2d -f 0")
    assert any(name.endswith("checkpoint_final.pth") for name in zipfile.ZipFile("model.zip").namelist())
    shutil.rmtree(typed.workspace / "nnUNet_results" / dataset)
    typed("nnUNet_install_pretrained_model_from_zip model.zip")
    typed("nnUNet_predict -i IN -o OUT_E -t 507 -m 2d", "--disable_tta")
    typed("nnUNet_change_trainer_class -i MODEL -tr nnUNetTrainerV2", code=2, says="not needed")
    typed("nnUNet_print_available_pretrained_models", says="Task004_Hippocampus")
    typed("nnUNet_print_pretrained_model_info Task004_Hippocampus", says="hippocampus")
    typed("nnUNet_download_pretrained_model Task000_Nothing", code=2, says="Task004_Hippocampus")
    typed("nnUNet_plot_task_pngs -t 507 -o PNG", "--use_raw")
    assert len(list((place / "PNG").glob("c?.png"))) == 5


def test_totalsegmentator(typed: Typist, monkeypatch: pytest.MonkeyPatch) -> None:
    from segautoconfiglib.tasks.api import totalsegmentator
    from segautoconfiglib.tasks.catalogue import Catalogue, find_task, load_catalogue
    from task_steps import scan
    from task_weights import make_task_weights

    place = typed.workspace.parent
    monkeypatch.setenv("TOTALSEG_HOME_DIR", str(place / "home"))
    monkeypatch.delenv("TOTALSEG_WEIGHTS_PATH", raising=False)
    sitk.WriteImage(scan({"liver": ((8, 9, 10), 4), "spleen": ((12, 10, 17), 3)}), "ct.nii.gz")
    tasks = [("total", "default"), ("total", "fast"), ("total", "fastest"), ("body", "default"), ("body", "fast")]
    for task, mode in tasks:
        make_task_weights(place / "published", task, mode, width=2, patch=(16, 16, 16))
    for dataset in (place / "published").iterdir():
        shutil.make_archive(str(place / "server" / dataset.name), "zip", dataset.parent, dataset.name)
    typed("TotalSegmentator -i ct.nii.gz -o segmentations", code=2, says="totalseg_download_weights -t 291")

    with served(place / "server") as address:
        published = load_catalogue().datasets
        monkeypatch.setattr(
            Catalogue, "download_address", lambda _, number: f"{address}/{published[number].folder}.zip"
        )
        for task in ("total", "total_fast", "body", "body_fast"):
            typed(f"totalseg_download_weights -t {task}")

    typed("TotalSegmentator -i ct.nii.gz -o segmentations")
    assert len(list((place / "segmentations").iterdir())) == 117
    typed("TotalSegmentator -i ct.nii.gz -o segmentations_body -ta body")
    assert {file.name for file in (place / "segmentations_body").iterdir()} == {
        "body.nii.gz", "skin.nii.gz", "body_trunc.nii.gz", "body_extremities.nii.gz",
    }  # fmt: skip
    for number, more in enumerate(("--ml", "-ml", "--ml --fast", "-ml --fastest", "--ml --roi_subset liver spleen")):
        typed(f"TotalSegmentator -i ct.nii.gz -o all_{number}.nii.gz -ta total {more}")
        names = read_label_names(place / f"all_{number}.nii.gz")
        assert names == ({5: "liver", 1: "spleen"} if "subset" in more else find_task("total").classes)
    typed("TotalSegmentator -i ct.nii.gz -o fast -ta total --fast --statistics --preview -d cpu")
    assert {"statistics.json", "preview_total.png"} < {file.name for file in (place / "fast").iterdir()}

    typed("totalseg_combine_masks -i segmentations -o combined_mask.nii.gz -m lung")
    typed("totalseg_combine_masks -i all_0.nii.gz -o combined_labels.nii.gz -m lung")
    masks = [read_labels(place / f"combined_{name}.nii.gz").array for name in ("mask", "labels")]
    lobes = [label for label, name in find_task("total").classes.items() if name.startswith("lung_")]
    np.testing.assert_array_equal(masks[0], np.isin(read_labels(place / "all_0.nii.gz").array, lobes))
    np.testing.assert_array_equal(masks[0], masks[1])

    weights = typed.workspace / "nnUNet_results" / "TotalSegmentator"
    labels = totalsegmentator("ct.nii.gz", "script", "total", fast=True, weights=weights)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(labels), read_labels(place / "all_2.nii.gz").array[0])
    assert len(list((place / "script").iterdir())) == 117
