"""The main window: the module's panel at the left, the views at the right."""

from __future__ import annotations

import importlib
import os
import sys
import types

from .layout import LayoutManager
from .modules import ModuleHandle
from .pythonqt import qt
from .strict import HostError, Strict
from .widgets.nodes import qSlicerScriptedLoadableModuleWidget
from .widgets.segments import qMRMLSegmentEditorWidget

_PANEL_WIDTH = 470


class MainWindow(qt.QMainWindow):
    """Found by slicer.util.mainWindow()."""

    def __init__(self, app, size):
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self.setWindowTitle("Slicer host (stand-in for 3D Slicer)")
        self.resize(*size)
        self.selected = None
        self.panel, self.scroll = qt.QWidget(), qt.QScrollArea()
        self.splitter, self.views = qt.QSplitter(), qt.QWidget()
        for widget in (self.panel, self.views):
            qt.QVBoxLayout(widget).setContentsMargins(0, 0, 0, 0)
        self.scroll.setWidgetResizable(True)
        self.scroll.setWidget(self.panel)
        self.scroll.setMinimumWidth(200)
        self.splitter.addWidget(self.scroll)
        self.splitter.addWidget(self.views)
        self.splitter.setStretchFactor(1, 1)
        self.setCentralWidget(self.splitter)
        self.statusBar().showMessage("Ready")
        self._app = app

    def moduleSelector(self):
        selected = self.selected.name if self.selected is not None else ""
        return types.SimpleNamespace(selectModule=select_module, selectedModule=selected)

    def set_panel_width(self, width: int) -> None:
        """Let the module's panel be shown this wide (pixels, without the scroll bar)."""
        self.resize(max(self.width, width + 320), self.height)
        self._app.processEvents()
        for _ in range(3):  # a scroll bar may come or go
            missing = width - self.scroll.viewport().width
            if missing == 0:
                break
            left = self.splitter.sizes()[0] + missing
            self.splitter.setSizes([left, sum(self.splitter.sizes()) - left])
            self._app.processEvents()


class ModuleParent(Strict):
    """The `parent` of a module's class."""

    _what = "module parent"

    def __init__(self, path):
        self.path, self.icon, self.hidden, self.index = path, None, False, -1
        self.associatedNodeTypes, self.widgetRepresentationCreationEnabled = [], True


def _main() -> MainWindow:
    return sys.modules["slicer"].app._main_window


def make(app, size) -> None:
    """Show the main window with Slicer's first layout and its Segment Editor module."""
    app._main_window = MainWindow(app, size)
    app._main_window.show()
    app._main_window.set_panel_width(_PANEL_WIDTH)
    layouts = sys.modules["slicer"].vtkMRMLLayoutNode
    app._layout_manager = LayoutManager(app._main_window.views, layouts.SlicerLayoutFourUpView)
    app._at_stop.append(app._main_window.close)
    _add_segment_editor(app)


def _add_segment_editor(app) -> None:
    """A module SegmentEditor that can be selected and given nodes; it has no effects."""
    representation, editor = qSlicerScriptedLoadableModuleWidget(), qMRMLSegmentEditorWidget()
    representation.layout().addWidget(editor)
    representation._python_widget = types.SimpleNamespace(editor=editor)
    _show_representation(ModuleHandle("SegmentEditor", None, "", representation, "Segment Editor"))
    sys.modules["slicer"].modules.SegmentEditorWidget = representation._python_widget
    representation.hide()


def _show_representation(handle) -> None:
    _main().panel.layout().addWidget(handle.widgetRepresentation())
    sys.modules["slicer"].app.moduleManager().add(handle)


def import_module(path):
    """Import a module's file, as Slicer does at its start for every module."""
    folder, file = os.path.split(os.path.abspath(path))
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module(os.path.splitext(file)[0])


def load_module(path):
    """Load a scripted module as Slicer does at its start, open it, and return its widget object.

    An exception in setup() is raised here; Slicer prints it and shows half a panel.
    """
    slicer, path = sys.modules["slicer"], os.path.abspath(path)
    python_module = import_module(path)
    name = python_module.__name__
    parent = ModuleParent(path)
    setattr(slicer.modules, name + "Instance", getattr(python_module, name)(parent))
    slicer.app.emit("startupCompleted()")
    representation = qSlicerScriptedLoadableModuleWidget()
    representation.setMRMLScene(slicer.mrmlScene)
    logic = slicer.vtkSlicerScriptedLoadableModuleLogic()
    _show_representation(ModuleHandle(name, logic, path, representation, parent.title))
    widget = representation._python_widget = getattr(python_module, name + "Widget")(representation)
    setattr(slicer.modules, name + "Widget", widget)
    widget.setup()
    select_module(name)
    return widget


def select_module(name) -> None:
    """Show a module's panel, as slicer.util.selectModule: exit() of the one before, enter() of this one."""
    main, handle = _main(), sys.modules["slicer"].app.moduleManager().module(name)
    if handle is None or handle.widgetRepresentation() is None:
        raise HostError(f"module {name} has no panel in this host")
    before, main.selected = main.selected, handle
    if before is not None and before is not handle:
        _set_entered(before, False)
    _set_entered(handle, True)


def _set_entered(handle, entered: bool) -> None:
    representation = handle.widgetRepresentation()
    representation.isEntered = entered
    representation.setVisible(entered)
    getattr(representation.self(), "enter" if entered else "exit", lambda: None)()


def panel_overflow(width: int) -> int:
    """How many pixels of the module's panel would be cut off if it were shown this wide; 0: none."""
    return max(0, _main().panel.minimumSizeHint.width() - width)


def screenshot(path, widget=None, width=None):
    """Write a picture of the main window with fresh views, or of one widget in it.

    Args:
        path: of the PNG file; missing folders are made.
        widget: what to show; "panel": the whole panel of the module, also what is scrolled out of sight.
        width: shows the module's panel this wide, in pixels.
    """
    app, main = sys.modules["slicer"].app, _main()
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    if width is not None:
        main.set_panel_width(width)
    app.processEvents()
    if widget is None:
        app.layoutManager().refresh()
    app.processEvents()
    shown = {None: main, "panel": main.panel}[widget] if widget in (None, "panel") else widget
    if not shown.grab().save(str(path)):
        raise HostError(f"can't write {path}")
    return path
