"""The Dataset panel as a user works with it; the engine runs in real processes."""

import json
import os
import signal
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qt
import slicer
import slicerhost.qtapp as host
import vtk
from messages import messageOf
from slicerhost.demo import makeSegmentation, makeVolume, oblique
from slicerhost.dialogs import dialogs_shown
from slicerhost.subject_hierarchy import drag_mime

from SegAutoConfigGui.Jobs.Job import Job
from SegAutoConfigGui.Jobs.Processes import PROCESSES
from SegAutoConfigGui.Scene import Checks
from SegAutoConfigGui.Scene.Volumes import MAP_ATTRIBUTE
from SegAutoConfigGui.Settings import Settings

SHAPE = (12, 14, 16)
PATIENCE = 60


@dataclass
class Module:
    """The module with this panel alone, and what the panel asked of the others."""

    widget: Any
    panel: Any
    workspace: Path
    asked: list

    @property
    def ui(self):
        return self.panel.ui

    def settle(self, seconds=PATIENCE):
        """Turn the event loop until nothing is being done any more."""
        section = self.panel.datasetSection
        parts = (lambda: section._stepper, lambda: self.panel.labelSection._stepper)
        parts += (lambda: self.panel.caseSection._loading, lambda: self.widget.logic._followers)
        parts += (lambda: self.panel._later.isActive(), lambda: self.panel._looking)
        host.wait(lambda: not any(part() for part in parts), seconds)

    @property
    def message(self):
        """The text above the tabs, without its markup; empty where none is shown."""
        return messageOf(self.widget)

    def column(self, column):
        table = self.ui.caseTable
        return [table.item(row, column).text() for row in range(table.rowCount)]

    def signs(self):
        """The tooltips of the signs of all rows."""
        table = self.ui.caseTable
        return [table.item(row, 0).toolTip() for row in range(table.rowCount)]

    def check(self, row, column, checked=True):
        self.ui.caseTable.item(row, column).setCheckState(qt.Qt.Checked if checked else qt.Qt.Unchecked)

    def labels(self):
        table = self.ui.labelTable
        return [tuple(table.item(row, column).text() for column in (0, 2, 4)) for row in range(table.rowCount)]

    def report(self):
        return [self.ui.reportList.item(row).text() for row in range(self.ui.reportList.count)]

    def contents(self):
        return [self.ui.contentsList.item(row).text() for row in range(self.ui.contentsList.count)]

    def create(self, name="Liver"):
        """Name a new dataset and press the button; returns when all is done."""
        self.ui.nameEdit.text = name
        assert self.ui.exportButton.enabled, self.ui.exportButton.toolTip
        self.ui.exportButton.click()
        self.settle()

    def refused(self):
        """Why the button is gray, and what the rows say; nothing may have been written."""
        self.ui.nameEdit.text = "Bad"
        assert not self.ui.exportButton.enabled
        assert self.ui.exportButton.toolTip == self.ui.statusLabel.text
        assert not self.raw("Dataset001_Bad").exists()
        return self.ui.exportButton.toolTip + "\n" + "\n".join(self.signs())

    def raw(self, name):
        return self.workspace / "nnUNet_raw" / name

    def description(self, name):
        return json.loads((self.raw(name) / "dataset.json").read_text())

    def photograph(self, folder, name):
        """Pictures at both widths of the panel."""
        for width in (400, 600):
            host.screenshot(folder / f"dataset-{name}-{width}.png", "panel", width)
            assert host.panel_overflow(width) == 0


@pytest.fixture(scope="module")
def opened(slicerApp, repository, externalPython, tmp_path_factory):
    """The module, opened once: each start of it asks the engine for its datasets."""
    settings = Settings()
    settings.workspace, settings.externalPython = tmp_path_factory.mktemp("none"), externalPython
    widget = host.load_module(str(repository / "SegAutoConfig" / "SegAutoConfig.py"))
    yield widget
    widget.cleanup()
    widget.parent.hide()
    widget.parent.deleteLater()


@pytest.fixture
def module(opened, externalPython, tmp_path, monkeypatch):
    """The module with an empty scene and an empty workspace of its own."""
    settings = opened.logic.settings
    settings.workspace, settings.externalPython = tmp_path / "wörk", externalPython
    asked = []
    other = types.SimpleNamespace(selectDataset=lambda name: asked.append(name))
    monkeypatch.setattr(opened, "openPanel", lambda name: asked.append(name) or other)
    result = Module(opened, opened.panels["Dataset"], tmp_path / "wörk", asked)
    result.settle()
    opened.clearMessage()
    opened.logic.datasets = []
    result.panel.datasetSection.select("")
    result.ui.nameEdit.text, result.ui.numberBox.value = "", 1
    yield result
    result.panel.datasetSection.stop()
    assert not (result.workspace / "staging").exists(), "files were left behind"


def box(low, high, shape=SHAPE):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


OUTER, INNER = box((2, 3, 3), (10, 11, 13)), box((5, 5, 5), (8, 9, 15))


def makeCase(number, segments=None, shape=SHAPE, **geometry):
    """A volume and a segmentation of two structures, the inner one of which reaches out of the outer one."""
    rng = np.random.default_rng(number)
    array = (100 * OUTER + 80 * INNER if shape == SHAPE else np.zeros(shape)) + rng.normal(50, 10, shape)
    volume = makeVolume(f"patient_{number:02}", array.astype(np.int16), **geometry)
    if segments is None:
        segments = {"liver": (OUTER, (0.86, 0.51, 0.4)), "tumor": (INNER, (0.3, 0.9, 0.3))}
    return volume, makeSegmentation(f"patient_{number:02} segmentation", segments, reference=volume)


def truth(outer=1, inner=2):
    labels = np.zeros(SHAPE, np.uint8)
    labels[OUTER], labels[INNER] = outer, inner
    return labels


def readLabels(file):
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))


def test_from_pairs_in_the_scene_to_a_checked_dataset(module, screenshotFolder):
    ui = module.ui
    assert module.column(1) == []
    assert not ui.exportButton.enabled
    assert "no cases" in ui.exportButton.toolTip
    module.photograph(screenshotFolder, "empty")
    cases = [makeCase(1), makeCase(2, direction=oblique(), spacing=(0.7, 0.8, 2.5))]
    cases.append(makeCase(3, direction=np.diag([-1, -1, 1])))
    cases[2][1].GetSegmentation().GetNthSegment(0).SetName("Liver")
    ui.addPairsButton.click()
    module.settle()
    assert module.column(1) == ["patient_01", "patient_02", "patient_03"]
    assert module.column(3) == [f"patient_0{n} segmentation" for n in (1, 2, 3)]
    assert module.labels() == [("1", "liver", "3 of 3"), ("2", "tumor", "3 of 3")]
    assert ui.labelMessage.text.startswith("“liver”, “Liver” are taken for one structure")
    shared = int((OUTER & INNER).sum()) * 3
    assert ui.overlapMessage.text == f"liver and tumor: {shared} voxels in 3 of 3 cases, tumor wins"
    assert "Give the dataset a name" in ui.statusLabel.text
    module.check(0, 4)
    assert "only the spelling differs" in ui.labelMessage.text
    ui.nameEdit.text = "Liver"
    module.photograph(screenshotFolder, "filled")

    ui.exportButton.click()
    host.wait(lambda: "Adding" in ui.statusLabel.text, PATIENCE)
    assert ui.cancelButton.isVisibleTo(module.panel.root)
    assert not ui.exportButton.enabled
    assert ui.exportButton.toolTip == "An export is running."
    module.photograph(screenshotFolder, "exporting")
    module.settle()

    assert module.message == "Dataset001_Liver: 2 training cases and 1 test case (3 added)."
    description = module.description("Dataset001_Liver")
    assert description["labels"] == {"background": 0, "liver": 1, "tumor": 2}
    assert description["file_ending"] == ".nrrd"
    assert description["numTraining"] == 2
    assert description["segments"]["tumor"]["color"] == pytest.approx([0.3, 0.9, 0.3])
    for folder, id in (("labelsTs", "patient_01"), ("labelsTr", "patient_02"), ("labelsTr", "patient_03")):
        assert np.array_equal(readLabels(module.raw("Dataset001_Liver") / folder / f"{id}.nrrd"), truth())
    image = slicer.util.arrayFromVolume(cases[1][0])
    assert np.array_equal(readLabels(module.raw("Dataset001_Liver") / "imagesTr" / "patient_02_0000.nrrd"), image)

    assert "2 training cases and 1 test case (3 added); labels: liver, tumor." in ui.summaryLabel.text
    assert f'href="{module.raw("Dataset001_Liver").as_uri()}"' in ui.summaryLabel.text
    assert ui.datasetBox.currentText == "Dataset001_Liver"
    assert ui.exportButton.text == "Add to &dataset"
    assert not ui.exportButton.enabled
    assert "All cases are in Dataset001_Liver already" in ui.exportButton.toolTip
    assert module.signs() == ["It is in Dataset001_Liver."] * 3
    assert module.contents() == ["patient_01 (test)", "patient_02", "patient_03"]
    module.photograph(screenshotFolder, "finished")

    row = next(row for row, text in enumerate(module.report()) if "different orientations" in text)
    assert "patient_03" in module.report()[row]
    ui.caseTable.selectRow(0)
    ui.reportList.itemClicked.emit(ui.reportList.item(row))
    assert module.panel.caseSection.selected.id == "patient_03"
    red = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode")
    assert red.GetBackgroundVolumeID() == cases[2][0].GetID()
    assert [node.GetDisplayNode().GetVisibility() for _, node in cases] == [0, 0, 1]
    ui.trainButton.click()
    assert module.asked == ["Train", "Dataset001_Liver"]


def test_adding_correcting_and_removing(module):
    makeCase(1), makeCase(2)
    ui = module.ui
    ui.addPairsButton.click()
    module.settle()
    module.create()
    slicer.mrmlScene.Clear(0)
    module.settle()
    assert module.column(1) == []

    # a case with a further structure, and one whose name is there already
    extra = box((0, 0, 0), (2, 2, 2))
    makeCase(3, {"vein": extra, "tumor": INNER, "LIVER": OUTER})
    makeCase(2)
    ui.addPairsButton.click()
    module.panel.datasetSection.select("Dataset001_Liver")
    module.settle()
    assert module.labels() == [("1", "liver", "2 of 2"), ("2", "tumor", "2 of 2"), ("3", "vein", "1 of 2")]
    assert "already has a case of this name" in module.signs()[1]
    assert not ui.exportButton.enabled
    assert "1 of 2 cases can't be exported: patient_02." in ui.statusLabel.text
    module.panel.datasetSection.start()  # for example by a script
    assert "Nothing was exported" in module.message
    assert "patient_02: Dataset001_Liver already has a case of this name. Check Replace" in module.message
    assert not ui.caseTable.isColumnHidden(5)
    module.check(1, 5)
    ui.exportButton.click()
    module.settle()
    assert module.message == "Dataset001_Liver: 3 training cases (1 added, 1 replaced)."
    assert module.description("Dataset001_Liver")["labels"] == {"background": 0, "liver": 1, "tumor": 2, "vein": 3}
    expected = truth()
    expected[extra] = 3
    assert np.array_equal(readLabels(module.raw("Dataset001_Liver") / "labelsTr" / "patient_03.nrrd"), expected)
    assert "(1 added, 1 replaced)" in ui.summaryLabel.text

    # one is loaded, corrected, and put back
    slicer.mrmlScene.Clear(0)
    module.settle()
    module.panel.datasetSection.select("Dataset001_Liver")
    ui.contentsList.item(0).setSelected(True)
    ui.loadCasesButton.click()
    module.settle()
    assert module.column(1) == ["patient_01"]
    assert module.signs() == ["It will replace the case in Dataset001_Liver."]
    case = module.panel.table.cases()[0]
    assert case.volumes[0].GetStorageNode() is None
    segments = case.segmentation.GetSegmentation()
    tumor = segments.GetSegmentIdBySegmentName("tumor")
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        np.zeros(SHAPE, np.uint8), case.segmentation, tumor, case.volumes[0]
    )
    ui.exportButton.click()
    module.settle()
    after = readLabels(module.raw("Dataset001_Liver") / "labelsTr" / "patient_01.nrrd")
    assert np.array_equal(after, np.where(truth() == 2, 0, truth()))

    # one is taken out
    ui.contentsList.item(1).setSelected(True)
    ui.contentsList.item(0).setSelected(False)
    assert ui.deleteCasesButton.enabled
    with dialogs_shown() as answers:
        answers.append(qt.QMessageBox.Ok)
        ui.deleteCasesButton.click()
    module.settle()
    assert module.contents() == ["patient_01", "patient_03"]


def test_rows_are_changed_in_place_and_saved_with_the_scene(module, tmp_path):
    makeCase(1), makeCase(2)
    ui = module.ui
    ui.addPairsButton.click()
    module.settle()
    ui.caseTable.item(0, 1).setText("first case/1")
    assert module.column(1) == ["first_case_1", "patient_02"]
    module.check(1, 4)
    assert [case.test for case in module.panel.table.cases()] == [False, True]
    ui.labelTable.item(1, 2).setText("lesion")
    ui.labelTable.selectRow(1)
    ui.labelUpButton.click()
    assert [row[:2] for row in module.labels()] == [("1", "lesion"), ("2", "liver")]
    assert module.panel.labelSection.view.selected() == ["lesion"]
    ui.labelTable.cellWidget(0, 1).setColor(qt.QColor(255, 0, 0))
    assert module.panel.labels.label("lesion").color == pytest.approx((1, 0, 0))
    combo = ui.labelTable.cellWidget(1, 3)
    combo.currentIndex = 1
    combo.activated.emit(1)
    assert [row[0] for row in module.labels()] == ["1", "—"]
    ui.nameEdit.text = "Saved"
    ui.formatBox.currentIndex = 1
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    module.settle()
    assert module.labels() == []
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    module.settle()
    assert module.column(1) == ["first_case_1", "patient_02"]
    assert [row[:2] for row in module.labels()] == [("1", "lesion"), ("—", "liver")]
    assert (ui.nameEdit.text, ui.formatBox.currentText) == ("Saved", ".nii.gz")

    ui.resetLabelsButton.click()
    assert [row[:2] for row in module.labels()] == [("1", "liver"), ("2", "tumor")]
    ui.labelTable.selectAll()
    ui.mergeLabelsButton.click()
    assert [row[:2] for row in module.labels()] == [("1", "liver")]
    ui.caseTable.selectRow(0)
    module.panel.caseSection.view._delete.activated.emit()
    assert module.column(1) == ["patient_02"]


def test_several_channels_and_regions(module, screenshotFolder):
    ui = module.ui
    t1, segmentation = makeCase(1)
    t2 = makeVolume("patient_01 T2", np.ones(SHAPE, np.int16))
    other = makeVolume("small T2", np.ones((6, 7, 8), np.int16))
    ui.addPairsButton.click()
    ui.addChannelButton.click()
    assert module.panel.table.channelNames == ["channel 1", "channel 2"]
    ui.channelList.item(0).setText("T1")
    ui.channelList.item(1).setText("T2")
    assert module.panel.table.channelNames == ["T1", "T2"]
    assert "T2" in module.signs()[0]
    selectors = module.panel.caseSection.channels.selectors
    assert [label.text for label, _ in selectors] == ["T1:", "T2:"]
    selectors[1][1].setCurrentNode(other)
    module.settle()
    assert "small T2" in module.refused()
    assert module.column(2) == ["2 volumes"]
    selectors[1][1].setCurrentNode(t2)
    ui.overlapBox.currentIndex = 1
    ui.overlapBox.activated.emit(1)
    module.settle()
    assert ui.overlapMessage.text.endswith("both are kept")
    ui.casesAdvanced.collapsed = False
    module.photograph(screenshotFolder, "channels")
    ui.casesAdvanced.collapsed = True
    module.create()
    description = module.description("Dataset001_Liver")
    assert description["channel_names"] == {"0": "T1", "1": "T2"}
    labels = readLabels(module.raw("Dataset001_Liver") / "labelsTr" / "patient_01.nrrd")
    for name, mask in (("liver", OUTER), ("tumor", INNER)):
        assert np.array_equal(np.isin(labels, description["labels"][name]), mask)
    assert len(description["regions_class_order"]) == 2
    assert readLabels(module.raw("Dataset001_Liver") / "imagesTr" / "patient_01_0001.nrrd").all()
    assert not ui.addChannelButton.enabled
    assert ui.addChannelButton.toolTip == "The dataset's channels are fixed"
    assert t1 is module.panel.table.cases()[0].volumes[0]
    assert segmentation is module.panel.table.cases()[0].segmentation


def files(*paths):
    """What a file manager hands over."""
    data = qt.QMimeData()
    data.setUrls([qt.QUrl.fromLocalFile(str(path)) for path in paths])
    return data


def test_dropping_nodes_and_files(module, tmp_path):
    volume, segmentation = makeCase(1)
    table = module.ui.caseTable
    assert host.drop(table, drag_mime(segmentation, volume))
    module.settle()
    assert [(case.volumes, case.segmentation) for case in module.panel.table.cases()] == [([volume], segmentation)]
    slicer.util.saveNode(volume, str(tmp_path / "scan.nrrd"))
    slicer.util.saveNode(segmentation, str(tmp_path / "scan.seg.nrrd"))
    host.drop(table, files(tmp_path))
    module.settle()
    assert module.column(1) == ["patient_01", "scan"]
    assert [name for _, name, found in module.labels() if found == "2 of 2"] == ["liver", "tumor"]
    assert module.message == ""
    (tmp_path / "broken.nrrd").write_text("no image")
    (tmp_path / "broken.seg.nrrd").write_text("no image")
    host.drop(table, files(tmp_path / "broken.nrrd"))
    module.settle()
    assert "broken" in module.message
    assert module.column(1) == ["patient_01", "scan"]


def test_importing_a_folder(module, tmp_path):
    for number in (1, 2):
        volume, segmentation = makeCase(number)
        slicer.util.saveNode(volume, str(tmp_path / f"scan{number}.nrrd"))
        slicer.util.saveNode(segmentation, str(tmp_path / f"scan{number}.seg.nrrd"))
    slicer.mrmlScene.Clear(0)
    host.modal_answers.append(str(tmp_path))
    module.ui.importFolderButton.click()
    assert module.ui.importFolderButton.text == "Stop &importing"
    module.settle()
    assert module.ui.importFolderButton.text == "&Import folder..."
    assert module.column(1) == ["scan1", "scan2"]
    host.modal_answers.append(str(tmp_path / "nothing here"))
    module.ui.importFolderButton.click()
    assert "nothing here" in module.message


def test_importing_files_of_which_none_match(module, tmp_path):
    for number in (1, 2):
        volume, segmentation = makeCase(number)
        slicer.util.saveNode(volume, str(tmp_path / f"scan{number}.nrrd"))
        slicer.util.saveNode(segmentation, str(tmp_path / f"drawing{number}.seg.nrrd"))
    slicer.mrmlScene.Clear(0)
    (tmp_path / "drawing2.seg.nrrd").unlink()
    (tmp_path / "scan2.nrrd").unlink()
    module.panel.caseSection.addFiles([tmp_path])
    assert module.message.startswith("No image has a segmentation here")
    module.settle()
    assert "drawing1.seg.nrrd is named like a segmentation, but no image" in module.message
    assert module.column(1) == ["scan1"]


def test_adding_single_cases(module):
    first, firstSegmentation = makeCase(1)
    second, _ = makeCase(2)
    slicer.app.applicationLogic().GetSelectionNode().SetActiveVolumeID(second.GetID())
    for _ in range(3):
        module.ui.addCaseButton.click()
    cases = module.panel.table.cases()
    assert [case.volumes[0] for case in cases] == [second, first, None]
    assert cases[1].segmentation is firstSegmentation
    assert "All loaded volumes are in a case" in module.message
    row = module.panel.addCase([first], firstSegmentation)
    assert row.uid == cases[1].uid
    assert module.panel.caseSection.selected.uid == row.uid


def collectProblems(module):
    """Press the button, and return the message; nothing may have been written."""
    module.create("Bad")
    assert not module.raw("Dataset001_Bad").exists()
    return module.message


def makeBadCase(kind):
    volume, segmentation = makeCase(1)
    if kind == "no segmentation":
        slicer.mrmlScene.RemoveNode(segmentation)
    elif kind == "no segments":
        segmentation.GetSegmentation().RemoveAllSegments()
    elif kind == "no spacing":
        matrix = vtk.vtkMatrix4x4()
        matrix.SetElement(2, 2, 0)
        volume.SetIJKToRASMatrix(matrix)
    elif kind == "warped":
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "warp")
        spline = vtk.vtkThinPlateSplineTransform()
        source, target = vtk.vtkPoints(), vtk.vtkPoints()
        for n in range(4):
            source.InsertNextPoint(n, n * n, 1 - n)
            target.InsertNextPoint(n + 1, n * n, 1 - n * n)
        spline.SetSourceLandmarks(source)
        spline.SetTargetLandmarks(target)
        transform.SetAndObserveTransformToParent(spline)
        volume.SetAndObserveTransformNodeID(transform.GetID())
    return volume


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("no segmentation", ("segmentation",)),
        ("no segments", ("patient_01", "segment")),
        ("no spacing", ("patient_01", "no valid spacing", "Volumes")),
        ("warped", ("patient_01", "warp", "not linear", "Harden")),
    ],
)
def test_bad_cases_are_refused_with_the_remedy(module, kind, words, screenshotFolder):
    makeBadCase(kind)
    module.ui.addCaseButton.click()
    module.settle()
    message = module.refused()
    assert "1 of 1 case can't be exported: patient_01." in message
    for word in words:
        assert word in message
    assert module.panel.caseSection.selected.id == "patient_01"
    assert module.ui.caseMessage.text.startswith("patient_01: ")
    if kind == "warped":
        module.photograph(screenshotFolder, "error")


def test_an_empty_segment_is_said_and_does_not_stop_the_export(module):
    makeCase(1, {"liver": OUTER, "tumor": INNER})
    makeCase(2, {"liver": OUTER, "tumor": np.zeros(SHAPE, bool)})
    module.ui.addPairsButton.click()
    module.settle()
    assert "tumor" in module.signs()[1]
    module.ui.nameEdit.text = "Leber/1"
    assert "may have letters" in module.ui.statusLabel.text
    module.create()
    labels = readLabels(module.raw("Dataset001_Liver") / "labelsTr" / "patient_02.nrrd")
    assert np.array_equal(labels, OUTER.astype(np.uint8))
    module.ui.datasetBox.currentIndex = 0
    module.ui.datasetBox.activated.emit(0)
    assert module.ui.numberBox.value == 2
    module.ui.numberBox.value = 1
    assert module.ui.statusLabel.text == "Number 1 is taken by Dataset001_Liver."
    assert not module.ui.exportButton.enabled


def test_one_segmentation_is_looked_at_per_turn_of_the_event_loop(module, monkeypatch):
    log, look = [], Checks.emptySegments

    def logged(node):
        log.append(node.GetName())
        qt.QTimer.singleShot(0, lambda: log.append("turn"))
        return look(node)

    monkeypatch.setattr(Checks, "emptySegments", logged)
    for number in (1, 2):
        makeCase(number, {"liver": OUTER, "tumor": INNER * (number - 1)})
    module.ui.addPairsButton.click()
    assert (log, module.signs()) == ([], ["Its segments are being looked at ..."] * 2)
    module.panel.exit()
    module.settle()
    assert log == []
    module.panel.enter()
    module.settle()
    assert log == ["patient_01 segmentation", "turn", "patient_02 segmentation", "turn"]
    assert [sign.split(".")[0] for sign in module.signs()] == ["Empty segments: tumor", "It can be exported"]


def test_an_export_that_is_started_at_once_knows_empty_segments(module):
    makeCase(1)
    makeCase(2, {"liver": np.zeros(SHAPE, bool)})
    module.ui.addPairsButton.click()
    module.create()
    assert "The segments of patient_02 segmentation are empty: liver." in module.message
    assert not module.raw("Dataset001_Liver").exists()
    assert module.signs()[0] == "It can be exported."


def test_ignored_segments_are_one_row_after_the_export(module):
    makeCase(1, {"liver": OUTER, "unsure": INNER & ~OUTER})
    module.ui.addPairsButton.click()
    module.settle()
    module.panel.labelSection.view._onRole("unsure", "ignore")
    assert module.labels() == [("1", "liver", "1 of 1"), ("2", "unsure", "1 of 1")]
    module.create()
    assert module.description("Dataset001_Liver")["labels"] == {"background": 0, "liver": 1, "ignore": 2}
    assert module.labels() == [("1", "liver", "1 of 1"), ("2", "ignore", "1 of 1")]


def test_labels_that_came_while_another_module_was_open_are_kept(module):
    makeCase(1)
    module.ui.addPairsButton.click()
    module.settle()
    node = module.panel.table.parameterNode
    imported = node.GetParameter("labelTable").replace('"name": "liver"', '"name": "organ"')
    module.widget.exit()
    node.SetParameter("labelTable", imported)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    assert not module.panel._later.isActive()
    module.widget.enter()
    module.settle()
    assert [name for _, name, _ in module.labels()] == ["organ", "tumor"]
    assert '"name": "organ"' in node.GetParameter("labelTable")


def test_progress_and_summary_are_scrolled_to(module):
    makeCase(1)
    ui, scroll = module.ui, slicer.util.mainWindow().scroll
    ui.contentsGroup.collapsed = False
    module.ui.addPairsButton.click()
    module.settle()
    ui.nameEdit.text = "Liver"
    scroll.verticalScrollBar().value = 0
    assert ui.statusLabel.visibleRegion().isEmpty()
    ui.exportButton.click()
    host.wait(lambda: not ui.progressBar.visibleRegion().isEmpty(), PATIENCE)
    host.wait(lambda: module.panel.datasetSection.reading, PATIENCE)
    assert not ui.exportButton.enabled
    assert ui.exportButton.toolTip == "Reading the datasets ..."
    assert module.signs() == ["It is in Dataset001_Liver."]
    module.settle()
    assert not module.panel.datasetSection.reading
    host.wait(lambda: not ui.trainButton.visibleRegion().isEmpty(), PATIENCE)


def test_results_of_the_module_are_no_cases(module):
    volume, segmentation = makeCase(1)
    share = makeVolume("patient_01 uncertainty", np.zeros(SHAPE, np.float32))
    share.SetAttribute(MAP_ATTRIBUTE, "1")
    slicer.util.setSliceViewerLayers(background=share)
    slicer.app.applicationLogic().GetSelectionNode().SetActiveVolumeID(share.GetID())
    module.ui.addCaseButton.click()
    module.panel.caseSection.addNodes([share, segmentation])
    assert [(case.volumes, case.segmentation) for case in module.panel.table.cases()] == [([volume], segmentation)]
    module.ui.addCaseButton.click()
    assert module.message == "All loaded volumes are in a case; choose the volume below the table."
    assert module.panel.table.cases()[1].volumes == [None]
    module.settle()


def test_without_the_engine_a_button_leads_to_setup(module):
    ui, settings = module.ui, module.widget.logic.settings
    assert not ui.setupButton.isVisibleTo(module.panel.root)
    settings.externalPython, working = "/nowhere/python", settings.externalPython
    module.panel.datasetSection.readDatasets()
    assert ui.statusLabel.text.startswith("The chosen Python /nowhere/python does not exist")
    assert ui.setupButton.isVisibleTo(module.panel.root)
    ui.setupButton.click()
    assert module.asked == ["Setup"]
    settings.externalPython = working
    module.panel.datasetSection.readDatasets()
    module.settle()
    assert not ui.setupButton.isVisibleTo(module.panel.root)


def test_cancelled_and_killed_exports_leave_nothing(module):
    for number in range(1, 5):
        makeCase(number)
    module.ui.addPairsButton.click()
    module.settle()
    module.ui.nameEdit.text = "Liver"
    for word in ("Exporting", "Adding"):
        module.ui.exportButton.click()
        host.wait(lambda word=word: word in module.ui.statusLabel.text, PATIENCE)
        module.ui.cancelButton.click()
        module.settle()
        assert module.ui.statusLabel.text == "Canceled; Dataset001_Liver is as it was."
        assert not module.raw("Dataset001_Liver").exists()
        assert not (module.workspace / "staging").exists()
        assert module.ui.exportButton.enabled

    module.ui.exportButton.click()
    host.wait(lambda: "Adding" in module.ui.statusLabel.text, PATIENCE)
    job = module.panel.datasetSection.export._job
    assert isinstance(job, Job)
    os.killpg(PROCESSES[job.folder].pid, signal.SIGKILL)
    module.settle()
    assert "killed" in module.message
    assert "Dataset001_Liver is as it was before; press the button again." in module.message
    module.create()
    assert module.message == "Dataset001_Liver: 4 training cases (4 added)."
    assert module.description("Dataset001_Liver")["numTraining"] == 4


def test_closing_the_scene_while_cases_are_exported(module):
    for number in range(1, 4):
        makeCase(number)
    module.ui.addPairsButton.click()
    module.settle()
    module.ui.nameEdit.text = "Liver"
    module.ui.exportButton.click()
    host.wait(lambda: "Exporting" in module.ui.statusLabel.text, PATIENCE)
    slicer.mrmlScene.Clear(0)
    module.settle()
    assert "because the scene was closed" in module.message
    assert not module.raw("Dataset001_Liver").exists()
    assert not (module.workspace / "staging").exists()


def test_closing_the_scene_while_the_engine_works(module):
    makeCase(1)
    module.ui.addPairsButton.click()
    module.settle()
    module.ui.nameEdit.text = "Liver"
    module.ui.exportButton.click()
    host.wait(lambda: "Adding" in module.ui.statusLabel.text, PATIENCE)
    module.widget.exit()
    slicer.mrmlScene.Clear(0)
    makeCase(7)
    module.widget.enter()
    module.ui.addPairsButton.click()
    module.settle()
    assert module.description("Dataset001_Liver")["numTraining"] == 1
    assert module.column(1) == ["patient_07"]
    assert "Dataset001_Liver" in module.ui.summaryLabel.text


def test_the_engine_is_not_there(module):
    makeCase(1)
    module.ui.addPairsButton.click()
    module.settle()
    for python in ("/no/such/python", ""):
        module.widget.logic.settings.externalPython = python
        module.create()
        assert "Nothing was exported" in module.message
        assert "Setup" in module.message
        assert not (module.workspace / "staging").exists()


def test_no_disk_space(module, monkeypatch, tmp_path):
    makeCase(1)
    module.ui.addPairsButton.click()
    module.settle()
    monkeypatch.setattr("shutil.disk_usage", lambda folder: types.SimpleNamespace(free=1e8))
    assert "0.2 GB are needed, 0.1 GB are free" in collectProblems(module)
    monkeypatch.undo()
    module.widget.logic.settings.workspace = tmp_path / "file" / "below"
    (tmp_path / "file").write_text("")
    assert "is a file" in collectProblems(module)
    module.widget.logic.settings.workspace = module.workspace
    # a real refusal of the system while files are written: no file may be larger than this
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
        message = collectProblems(module)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert "written" in message
    assert not (module.workspace / "staging").exists()
