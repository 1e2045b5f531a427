"""The Models panel as a user works with it; the engine runs in real processes."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import qt
import slicer
import slicerhost
import slicerhost.qtapp as host
from slicerhost.dialogs import dialogs_shown

from SegAutoConfigGui.Models import ModelTexts

MODEL = {
    "path": "/results/m",
    "title": "Liver",
    "dataset": "Dataset001_Liver",
    "channels": ["CT"],
    "labels": {"background": 0, "liver": 1, "tumor": 2, "ignore": 3},
    "folds": [0],
    "unfinished": [],
    "dice": 0.8765,
    "date": "2026-11-20T10:11:12+01:00",
    "origin": "imported from a.zip",
    "size_mb": 1234.5,
    "problem": None,
}


def openModels(openModule, workspace=None):
    module = openModule(workspace)
    panel = module.panel("Models")
    module.settle(lambda: not panel._stale)
    module.settle()
    return module, panel


def done(panel):
    return lambda: not panel.busy


def rows(panel):
    table = panel.ui.modelTable
    return [table.item(row, 0).text().split("\n")[0] for row in range(table.rowCount)]


def answerDialogs(*answers):
    slicerhost.modal_answers.extend(answers)


# -- texts


def test_a_model_in_words():
    assert ModelTexts.infoText(MODEL) == "liver, tumor · from CT · Dice 0.876 · 2026-11-20 · imported from a.zip"
    assert ModelTexts.rowText(MODEL) == "Liver\nliver, tumor · CT · imported from a.zip"
    assert ModelTexts.sizeText(MODEL) == "1.2 GB"
    assert ModelTexts.infoText({**MODEL, "problem": "No plans."}) == "Can't be used: No plans."
    assert ModelTexts.diceText({**MODEL, "dice": None}) == "no validation"
    assert ModelTexts.diceText({**MODEL, "dice": None, "folds": []}) == "in training"
    many = {**MODEL, "labels": {f"l{number}": number for number in range(12)}}
    assert ModelTexts.labelsText(many).endswith("l8 and 3 more")


def test_a_plan_in_words():
    plan = {"patch_size": [28, 256, 256], "spacing": [2.5, 0.703125, 0.703125], "batch_size": 2, "features": [32, 320]}
    lines = dict(ModelTexts.planLines({"configuration": "3d_fullres", "plan": {**plan, "network": "PlainConvUNet"}}))
    assert lines["Patch"] == "28 × 256 × 256 voxels"
    assert lines["Voxel size"] == "2.5 × 0.703 × 0.703 mm"
    assert lines["Network"] == "PlainConvUNet (2 stages, 32 to 320 features)"
    assert "Normalization" not in lines
    assert ModelTexts.planLines({}) == []


# -- the panel


def test_an_empty_workspace(openModule, screenshotFolder):
    module, panel = openModels(openModule)
    assert panel.ui.modelTable.rowCount == 0
    assert "no model yet" in panel.ui.statusLabel.text
    assert panel.ui.importButton.enabled
    for name in ("segment", "export", "rename", "delete"):
        button = getattr(panel.ui, f"{name}Button")
        assert not button.enabled
        assert "Select a model" in button.toolTip
    module.photograph(screenshotFolder, "models-empty")


def test_the_table_and_the_details(openModule, trainedWorkspace, screenshotFolder, monkeypatch):
    module, panel = openModels(openModule, trainedWorkspace)
    assert sorted(rows(panel)) == ["Organ (3d_fullres, nnUNetPlans)", "TwoChannels (3d_fullres, nnUNetPlans)"]
    panel.ui.modelTable.selectRow(rows(panel).index("Organ (3d_fullres, nnUNetPlans)"))
    module.settle()
    assert "Dataset001_Organ" in panel.ui.modelTable.item(panel.ui.modelTable.currentRow(), 0).toolTip()
    assert "voxels" in panel.ui.planLabel.text
    folds = panel.ui.foldTable
    assert [folds.item(0, column).text() for column in range(3)] == ["0", "finished", "1"]
    assert [panel.ui.labelTable.item(row, 0).text() for row in range(panel.ui.labelTable.rowCount)] == ["organ", "core"]
    opened = []
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    panel.ui.pictureButton.click()
    assert opened == [str(Path(panel.model["path"]) / "fold_0" / "progress.png")]
    module.photograph(screenshotFolder, "models-finished")
    panel.ui.segmentButton.click()
    assert module.widget.currentPanel.name == "Segment"
    module.settle()
    assert module.widget.currentPanel.model["path"].endswith("Dataset001_Organ/nnUNetTrainer__nnUNetPlans__3d_fullres")


def test_export_delete_import_rename(openModule, trainedWorkspace, tmp_path, screenshotFolder):
    module, panel = openModels(openModule, trainedWorkspace)
    panel.ui.modelTable.selectRow(rows(panel).index("Organ (3d_fullres, nnUNetPlans)"))
    module.settle()
    folder = Path(panel.model["path"])
    answerDialogs(str(tmp_path / "örgan"))
    panel.ui.exportButton.click()
    assert panel.busy
    assert not panel.ui.deleteButton.enabled
    module.photograph(screenshotFolder, "models-working")
    module.settle(done(panel))
    assert "was written to" in module.message
    archive = tmp_path / "örgan.zip"
    assert zipfile.is_zipfile(archive)

    with dialogs_shown():
        answerDialogs(qt.QMessageBox.Cancel)
        panel.ui.deleteButton.click()
        module.settle(done(panel))
        assert folder.exists()
        answerDialogs(qt.QMessageBox.Ok)
        panel.ui.deleteButton.click()
        module.settle(done(panel))
    assert not folder.exists()
    module.settle()
    assert rows(panel) == ["TwoChannels (3d_fullres, nnUNetPlans)"]

    answerDialogs(str(archive))
    panel.ui.importButton.click()
    module.settle(done(panel))
    module.settle()
    assert "was imported" in module.message
    assert len(rows(panel)) == 2
    panel.select(str(folder))
    module.settle()
    assert panel.model["origin"] == "imported from örgan.zip"

    panel.ui.renameButton.click()
    panel.ui.titleEdit.text = "My organ"
    panel.rename()
    module.settle(done(panel))
    module.settle()
    assert sorted(rows(panel)) == ["My organ", "TwoChannels (3d_fullres, nnUNetPlans)"]
    assert panel.model["title"] == "My organ"


def drop(panel, *files):
    """Files from the desktop onto the table."""
    data = qt.QMimeData()
    data.setUrls([qt.QUrl.fromLocalFile(str(file)) for file in files])
    assert host.drop(panel.ui.modelTable.viewport(), data)


def test_zip_files_that_are_no_models(openModule, tmp_path, screenshotFolder):
    module, panel = openModels(openModule)
    (tmp_path / "broken.zip").write_bytes(b"no zip file")
    drop(panel, tmp_path / "broken.zip")
    module.settle(done(panel))
    assert "broken.zip" in module.message
    module.photograph(screenshotFolder, "models-error")

    with zipfile.ZipFile(tmp_path / "texts.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    drop(panel, tmp_path / "texts.zip")
    module.settle(done(panel))
    assert "texts.zip" in module.message

    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../../outside.txt", "hello")
        archive.writestr("Dataset001_X/nnUNetTrainer__nnUNetPlans__2d/plans.json", "{}")
    drop(panel, tmp_path / "evil.zip")
    module.settle(done(panel))
    assert "evil.zip" in module.message
    assert not list(tmp_path.rglob("outside.txt"))
    assert not list(module.workspace.rglob("plans.json"))

    drop(panel, tmp_path / "image.png")
    assert "image.png can't be imported" in module.message
    assert not panel.busy


def test_a_damaged_model_can_only_be_deleted(openModule, trainedWorkspace):
    module, panel = openModels(openModule, trainedWorkspace)
    panel.ui.modelTable.selectRow(rows(panel).index("Organ (3d_fullres, nnUNetPlans)"))
    folder = Path(panel.model["path"])
    (folder / "plans.json").write_text("{")
    panel.refresh()
    module.settle()
    panel.select(str(folder))
    module.settle()
    assert panel.model["problem"]
    assert "plans.json" in panel.ui.modelTable.item(panel.ui.modelTable.currentRow(), 0).toolTip()
    for name in ("segment", "export", "rename"):
        assert "damaged" in getattr(panel.ui, f"{name}Button").toolTip
    with dialogs_shown():
        answerDialogs(qt.QMessageBox.Ok)
        panel.ui.deleteButton.click()
        module.settle(done(panel))
    assert not folder.exists()


def test_several_zip_files_one_after_the_other(openModule, trainedWorkspace, tmp_path):
    module, panel = openModels(openModule, trainedWorkspace)
    for number, title in enumerate(list(rows(panel))):
        panel.ui.modelTable.selectRow(rows(panel).index(title))
        panel.exportTo(tmp_path / f"{number}.zip")
        module.settle(done(panel))
    shutil.rmtree(module.workspace / "nnUNet_results")
    panel.refresh()
    module.settle()
    assert rows(panel) == []
    drop(panel, tmp_path / "0.zip", tmp_path / "1.zip")
    module.settle(done(panel))
    module.settle()
    assert len(rows(panel)) == 2


def test_cancel_leaves_nothing_behind(openModule, trainedWorkspace, tmp_path):
    module, panel = openModels(openModule, trainedWorkspace)
    panel.exportTo(tmp_path / "out.zip")
    host.wait(lambda: panel._job is None or panel._job._pid, 120)
    panel.ui.cancelButton.click()
    module.settle(done(panel))
    left = [path.name for path in tmp_path.iterdir() if "out" in path.name]
    assert left in ([], ["out.zip"])  # it may have been faster
    assert panel.ui.exportButton.enabled
    slicer.app.processEvents()
