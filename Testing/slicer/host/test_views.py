"""Layouts, views, plots and the main window."""

import numpy as np
import pytest
import qt
import slicer
from slicerhost import HostError, demo
from slicerhost import qtapp as host

RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)


def pixels(widget):
    image = widget.grab().toImage().convertToFormat(qt.QImage.Format_RGB888)
    values = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return values[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).astype(int)


def count(picture, color):
    return int((np.abs(picture - np.array(color) * 255).sum(axis=-1) < 60).sum())


@pytest.fixture
def chart():
    epochs = np.arange(1.0, 21.0)
    dice = 1 - np.exp(-epochs / 5)
    dice[4] = np.nan
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "curves")
    slicer.util.updateTableFromArray(table, [epochs, np.exp(-epochs / 5), dice], ["epoch", "loss", "Dice"])
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", "Training")
    for name, color in (("loss", RED), ("Dice", BLUE)):
        series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", name)
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetXColumnName("epoch")
        series.SetYColumnName(name)
        series.SetPlotType(series.PlotTypeScatter)
        series.SetMarkerStyle(series.MarkerStyleNone)
        series.SetLineWidth(3)
        series.SetColor(*color)
        node.AddAndObservePlotSeriesNodeID(series.GetID())
    node.SetXAxisTitle("Epoch")
    node.SetYAxisTitle("Loss, Dice")
    return node


def test_a_chart_is_shown_in_a_layout_with_a_plot(chart):
    layouts = slicer.app.layoutManager()
    layouts.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView)
    slicer.modules.plots.logic().ShowChartInLayout(chart)
    assert layouts.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalPlotView
    assert layouts.plotWidget(0).mrmlPlotViewNode().GetPlotChartNode() is chart
    assert layouts.plotWidget(0).visible


def test_curves_are_drawn_with_axes_and_legend(chart):
    view = slicer.qMRMLPlotView()
    view.resize(400, 300)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotViewNode")
    view.setMRMLPlotViewNode(node)
    assert count(pixels(view), (1, 1, 1)) == 400 * 300
    node.SetPlotChartNodeID(chart.GetID())
    drawn = pixels(view)
    assert count(drawn, RED) > 300
    assert count(drawn, BLUE) > 300
    assert drawn[-22:, 64:].min() < 120, "no title of the x axis"
    assert drawn[30:-44, :20].min() < 120, "no title of the y axis"
    chart.SetLegendVisibility(False)
    assert count(pixels(view), RED) < count(drawn, RED)
    table = chart.GetNthPlotSeriesNode(0).GetTableNode()
    table.RemoveAllColumns()
    assert count(pixels(view), RED) == 0


def test_a_curve_has_a_gap_where_a_value_is_missing(chart):
    from slicerhost.plotting import read_series, ticks

    loss, dice = read_series(chart)
    assert (loss.name, len(loss.y), np.isnan(loss.y).sum(), np.isnan(dice.y).sum()) == ("loss", 20, 0, 1)
    assert ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert ticks(1, 20) == pytest.approx([5, 10, 15, 20])


def test_layouts_with_other_views_are_named():
    layouts = slicer.app.layoutManager()
    before = layouts.layout
    layouts.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView)
    assert "vtkMRMLTableViewNode" in host.slot_errors.pop()
    layouts.setLayout(before)


def test_slice_views_show_the_volume(tmp_path):
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    volume = demo.makeVolume("ct", np.full((20, 20, 20), 500, np.int16))
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    demo.makeSegmentation("seg", {"organ": (np.ones((20, 20, 20)), RED)}, reference=volume)
    host.screenshot(tmp_path / "views.png")
    picture = slicer.app.layoutManager()._views["slice"]["Red"].array().astype(int)
    assert (picture[..., 0] - picture[..., 1] > 50).sum() > 1000, "the segment is not drawn"


def test_pictures_of_the_panel_have_the_width_asked_for(tmp_path):
    slicer.util.selectModule("SegmentEditor")
    for width in (400, 600):
        host.screenshot(tmp_path / "panel.png", "panel", width=width)
        assert qt.QImage(str(tmp_path / "panel.png")).width() == width
    assert host.panel_overflow(10_000) == 0
    assert host.panel_overflow(1) > 0


def test_segment_editor_takes_nodes_and_can_be_selected():
    node, volume = demo.makeSegmentation(), demo.makeVolume()
    slicer.util.selectModule("SegmentEditor")
    editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
    editor.setSegmentationNode(node)
    editor.setSourceVolumeNode(volume)
    assert editor is slicer.modules.SegmentEditorWidget.editor
    assert (editor.segmentationNode(), editor.sourceVolumeNode()) == (node, volume)
    assert slicer.util.selectedModule() == "SegmentEditor"
    with pytest.raises(HostError, match="Volumes"):
        slicer.util.selectModule("Volumes")


def test_the_browser_of_a_sequence_moves_its_proxy():
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "frames")
    for time in range(3):
        frame = demo.makeVolume("frame", np.full((2, 2, 2), time, np.int16))
        sequence.SetDataNodeAtValue(frame, str(time))
        slicer.mrmlScene.RemoveNode(frame)
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    slicer.modules.sequences.logic().AddSynchronizedNode(sequence, None, browser)
    browser.SetSelectedItemNumber(2)
    slicer.modules.sequences.logic().UpdateAllProxyNodes()
    assert slicer.util.arrayFromVolume(browser.GetProxyNode(sequence)).max() == 2
