"""Qt-free half of the host: the MRML scene, the application logic, the module logics and `slicer.app`.

`slicer-core` holds the classes; the process-wide objects `slicer.app`, `slicer.mrmlScene` and `slicer.modules` are made
by Slicer's executable, and here.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
import types
from pathlib import Path

import vtk

from . import scripted, share, subject_hierarchy
from .io_manager import IOManager
from .modules import ModuleHandle, ModuleManager
from .strict import HostError, Strict

#: Module, class of its logic, folder of its resources.
_LOGICS = (
    ("Volumes", "vtkSlicerVolumesLogic", ""),
    ("Terminologies", "vtkSlicerTerminologiesModuleLogic", "Terminologies"),
    ("SubjectHierarchy", "vtkSlicerSubjectHierarchyModuleLogic", ""),
    ("Segmentations", "vtkSlicerSegmentationsModuleLogic", ""),
    ("Models", "vtkSlicerModelsLogic", ""),
    ("Markups", "vtkSlicerMarkupsLogic", ""),
    ("Transforms", "vtkSlicerTransformLogic", ""),
    ("Tables", "vtkSlicerTablesLogic", ""),
    ("Plots", "vtkSlicerPlotsLogic", ""),
    ("Sequences", "vtkSlicerSequencesLogic", ""),
    ("CropVolume", "vtkSlicerCropVolumeLogic", ""),
)
#: These warn "Invalid scene given" when the scene is taken from them.
_KEEP_SCENE = {"SubjectHierarchy", "Segmentations"}


class MemorySettings(Strict):
    """`slicer.app.userSettings()` without Qt: nothing is written."""

    _what = "QSettings"

    def __init__(self):
        self._values = {"Developer/DeveloperMode": "false"}

    def value(self, key, default=None):
        return self._values.get(key, default)

    def setValue(self, key, value):
        self._values[key] = value

    def contains(self, key):
        return key in self._values

    def remove(self, key):
        self._values.pop(key, None)


class App(Strict):
    """`slicer.app`, as far as it needs no Qt; `qtapp.QtApp` adds the rest."""

    _what = "slicer.app"
    applicationName = "Slicer"
    applicationVersion = "5.13.0-host"
    revision = "0"
    majorVersion, minorVersion = 5, 13
    os, arch, platform = "linux", "amd64", "linux-amd64"

    def __init__(self):
        slicer = sys.modules["slicer"]
        self._testing, self._logics, self._at_stop, self._render_paused = True, {}, [], 0
        self.temporaryPath = tempfile.mkdtemp(prefix="slicerhost-")
        self._settings = MemorySettings()
        self._scene = slicer.vtkMRMLScene()
        self._application_logic = slicer.vtkSlicerApplicationLogic()
        self._io_manager, self._module_manager = IOManager(self), ModuleManager()

    def mrmlScene(self):
        return self._scene

    def applicationLogic(self):
        return self._application_logic

    def coreIOManager(self):
        return self._io_manager

    ioManager = coreIOManager

    def moduleManager(self):
        return self._module_manager

    def moduleLogic(self, name):
        return self._logics[name]

    def layoutManager(self):
        return None

    def testingEnabled(self):
        return self._testing

    def userSettings(self):
        return self._settings

    settings = revisionUserSettings = userSettings

    def startupEnvironment(self):
        return dict(os.environ)

    def pauseRender(self):
        self._render_paused += 1

    def resumeRender(self):
        self._render_paused -= 1

    def setRenderPaused(self, paused):
        (self.pauseRender if paused else self.resumeRender)()

    slicerHome = property(lambda self: self.temporaryPath)
    defaultScenePath = property(lambda self: self.temporaryPath)

    def processEvents(self, *_):
        pass

    def connect(self, signal, callback):
        if signal != "startupCompleted()":
            raise HostError(f"slicer.app.connect({signal!r}) needs slicerhost.qtapp")
        return True

    def tr(self, text):
        return text

    def translate(self, context, text):
        return text


def start(app_class=App):
    """Make the one application, if there is none yet, and return it. Stopped by itself at the end of the process."""
    if not os.environ.get("DISPLAY"):  # VTK tries X first and warns
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
    import slicer

    if slicer.__dict__.get("app") is not None:
        return slicer.app
    app = app_class()
    slicer.app, slicer.mrmlScene = app, app._scene
    for name in ("modules", "moduleNames"):
        module = types.ModuleType(f"slicer.{name}")
        setattr(slicer, name, module)
        sys.modules[module.__name__] = module
    _prepare_application_logic(slicer, app)
    _make_logics(slicer, app)
    scripted.install()
    app._at_stop.append(subject_hierarchy.make_items(app._scene))
    atexit.register(stop)
    return app


def _prepare_application_logic(slicer, app):
    """The order matters: folders, scene, file formats, collections of views, colors."""
    logic, scene = app._application_logic, app._scene
    home = share.write(Path(app.temporaryPath))
    logic.SetHomeDirectory(str(home))
    logic.SetShareDirectory("share/host")
    logic.SetTemporaryPath(app.temporaryPath)
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    logic.SetMRMLScene(scene)
    _set_data_io(slicer, app)
    logic.SetSliceLogics(vtk.vtkCollection())
    logic.SetViewLogics(vtk.vtkCollection())
    _set_colors(slicer, app)
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    for factory in _factories(slicer):
        factory.SetMRMLApplicationLogic(logic)


def _factories(slicer):
    return (
        slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance(),
        slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance(),
    )


def _set_data_io(slicer, app):
    """Without it .mrb can't be read and no node knows its file formats."""
    app._remote_io, app._data_io = slicer.vtkMRMLRemoteIOLogic(), slicer.vtkDataIOManagerLogic()
    cache = os.path.join(app.temporaryPath, "RemoteIO")
    os.makedirs(cache, exist_ok=True)
    app._remote_io.GetCacheManager().CreateSentinelFileInDirectory(cache)
    app._remote_io.GetCacheManager().SetRemoteCacheDirectory(cache)
    app._data_io.SetMRMLApplicationLogic(app._application_logic)
    app._data_io.SetAndObserveDataIOManager(app._remote_io.GetDataIOManager())
    app._application_logic.SetMRMLSceneDataIO(app._scene, app._remote_io, app._data_io)


def _set_colors(slicer, app):
    """As qSlicerColorsModule: set at the application logic before the scene, which then brings the tables in."""
    colors = slicer.vtkSlicerColorLogic()
    colors.SetMRMLApplicationLogic(app._application_logic)
    app._application_logic.SetColorLogic(colors)
    app._application_logic.SetModuleLogic("Colors", colors)
    colors.SetMRMLScene(app._scene)
    app._logics["Colors"] = colors
    app._module_manager.add(ModuleHandle("Colors", colors))


def _make_logics(slicer, app):
    shared = Path(app.temporaryPath) / "share" / "host"
    for name, cls, folder in _LOGICS:
        logic = getattr(slicer, cls)()
        if hasattr(logic, "SetModuleShareDirectory"):
            logic.SetModuleShareDirectory(str(shared / folder))
        logic.SetMRMLApplicationLogic(app._application_logic)
        logic.SetMRMLScene(app._scene)
        app._application_logic.SetModuleLogic(name, logic)
        app._logics[name] = logic
        app._module_manager.add(ModuleHandle(name, logic))


def stop():
    """Take everything down in an order that leaves no warning and no crash at the end of the process."""
    slicer = sys.modules.get("slicer")
    app = slicer.__dict__.get("app") if slicer else None
    if app is None:
        return
    for end in app._at_stop:
        end()
    app._scene.Clear(1)
    for name, logic in app._logics.items():
        if name not in _KEEP_SCENE:
            logic.SetMRMLScene(None)
        logic.SetMRMLApplicationLogic(None)
    for factory in _factories(slicer):
        factory.SetMRMLApplicationLogic(None)
    app._data_io.SetMRMLApplicationLogic(None)
    app._application_logic.SetMRMLScene(None)
    app._module_manager.clear()
    app._logics.clear()
    shutil.rmtree(app.temporaryPath, ignore_errors=True)
    slicer.mrmlScene = slicer.app = None
