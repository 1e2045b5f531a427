"""Plug-ins: Python files or packages with parts of their own, such as networks, losses and planners.

A plug-in has a function ``register(plugin)`` that calls the methods of :class:`Plugin` (docs/plugins.md has an example
of each). Code runs only because the user named it: ``--plugin FILE``, a file in the workspace's folder ``plugins``, or
an installed package with the entry point group ``segautoconfiglib.plugins``. Nothing is ever loaded from a model or a
dataset.
"""

from __future__ import annotations

import re
import sys
import traceback
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from segautoconfiglib.base.errors import Cancelled, UserError
from segautoconfiglib.base.events import Reporter, silent
from segautoconfiglib.base.registry import Registry, imported

ENTRY_POINTS = "segautoconfiglib.plugins"
#: What stands before the name of an entry point among the sources of plug-ins, which are files otherwise.
_INSTALLED = "entry point "

#: Kind of part -> the registry that holds parts of this kind.
REGISTRIES = {
    "network": "segautoconfiglib.planning.architectures:ARCHITECTURES",
    "loss": "segautoconfiglib.planning.choices:LOSSES",
    "optimizer": "segautoconfiglib.planning.choices:OPTIMIZERS",
    "schedule": "segautoconfiglib.planning.choices:SCHEDULES",
    "augmentation": "segautoconfiglib.planning.choices:AUGMENTATIONS",
    "trainer": "segautoconfiglib.planning.choices:RECIPES",
    "planner": "segautoconfiglib.planning.presets:PLANNERS",
    "reader": "segautoconfiglib.image.own_formats:READERS",
}

FORM = "It needs:  def register(plugin): plugin.loss(...)  (docs/plugins.md shows everything that can be registered)."

#: The plug-ins of this process, by source.
_LOADED: dict[str, Plugin] = {}


class Plugin:
    """What a plug-in's ``register`` function is given: one method for each kind of part.

    Args:
        source: The file, or the entry point's name after `_INSTALLED`.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.parts: list[tuple[str, str]] = []

    @property
    def name(self) -> str:
        """The file's name without its folder, or the entry point."""
        return self.source if self.source.startswith(_INSTALLED) else Path(self.source).name

    def network(self, name: str, network_class: type, **options: Any) -> None:
        """A network that plans may name as ``network_class_name``.

        Args:
            name: With or without dots.
            network_class: A subclass of one of ``segautoconfiglib.networks``, made as that is; or any ``nn.Module``
                made, as in nnU-Net, from ``input_channels``, ``num_classes``, ``deep_supervision`` and those of
                ``arch_kwargs`` that it takes.
            options: ``cost`` and ``depth``, see :class:`~segautoconfiglib.planning.architectures.ArchitectureSpec`.
        """
        self._add("network", name, network_class, **options)

    def loss(self, name: str, function: Callable[..., Any]) -> None:
        """A loss ``function(logits, target, settings)``, see ``segautoconfiglib/training/losses.py``."""
        self._add("loss", name, function)

    def optimizer(self, name: str, function: Callable[..., Any]) -> None:
        """An optimizer ``function(parameters, learning_rate)``, or with keyword arguments that recipes may give."""
        self._add("optimizer", name, function)

    def schedule(self, name: str, schedule: Any) -> None:
        """A function from the share of the run that is done (0 to 1) to a factor of the learning rate, or a
        :class:`~segautoconfiglib.training.schedules.Schedule`, which also says when the factor is taken anew."""
        self._add("schedule", name, schedule)

    def augmentation(self, name: str, augmentation: Any) -> None:
        """An :class:`~segautoconfiglib.training.augment.Augmentation`, or a function that makes the transforms."""
        self._add("augmentation", name, augmentation)

    def trainer(self, name: str, **values: Any) -> None:
        """A recipe under the name of a trainer (``--trainer``), to which nnU-Net's words can be appended.

        Args:
            name: May be one of nnU-Net's, whose place it takes.
            values: Fields of :class:`~segautoconfiglib.planning.recipe.Recipe`; ``like`` names a trainer to start from.
        """
        self._add("trainer", name, **values)

    def planner(self, name: str, **values: Any) -> None:
        """A planner (``--planner``): see :func:`~segautoconfiglib.planning.presets.own_planner` for the values."""
        self._add("planner", name, **values)

    def reader(self, ending: str, read: Callable[..., Any], write: Callable[..., Any]) -> None:
        """Files of a further kind: see :class:`~segautoconfiglib.image.own_formats.OwnFormat`."""
        self._add("reader", ending, read, write)

    def _add(self, kind: str, name: str, *given: Any, **options: Any) -> None:
        if not isinstance(name, str) or not name:
            raise UserError(f"The name of a {kind} is {name!r}.", "Give a text.")
        registry: Registry = imported(REGISTRIES[kind])
        registry.register(name, *given, **options)
        self.parts.append((kind, name))

    def unload(self) -> None:
        """Forget all parts."""
        for kind, name in self.parts:
            imported(REGISTRIES[kind]).remove(name)
        self.parts.clear()
        _LOADED.pop(self.source, None)
        sys.modules.pop(_module_name(Path(self.source)), None)

    def __str__(self) -> str:
        parts = ", ".join(f"{kind} {name}" for kind, name in self.parts) or "nothing"
        return f"Plug-in {self.name}: {parts}."


@contextmanager
def plugged_in(
    files: Sequence[Path | str] = (), folder: Path | None = None, report: Reporter = silent
) -> Iterator[list[Plugin]]:
    """The plug-ins of a run, forgotten after the block.

    Args:
        files: That the user named.
        folder: Every ``*.py`` in it is one, too, unless its name begins with "_".
        report: Hears what each registers.

    Yields:
        Those loaded now: the files', the folder's and the installed ones, in reverse order.

    Raises:
        UserError: one can't be loaded; or its code failed inside the block: names file and line.
    """
    found = sorted(folder.glob("[!_]*.py")) if folder is not None and folder.is_dir() else []
    installed = [_INSTALLED + point.name for point in _entry_points()]
    plugins = load_plugins([*installed, *found, *files])
    try:
        for plugin in plugins:
            report("log", message=str(plugin))
        with blaming(report):
            yield plugins
    finally:
        for plugin in reversed(plugins):
            plugin.unload()


def load_plugins(sources: Sequence[Path | str]) -> list[Plugin]:
    """Load plug-ins into this process, each once; what is loaded already is left out.

    Args:
        sources: Files, or what :func:`loaded` gives in another process.

    Returns:
        Those loaded now.

    Raises:
        UserError: one can't be; then none of them stays.
    """
    plugins: list[Plugin] = []
    try:
        for source in map(str, sources):
            full = source if source.startswith(_INSTALLED) else str(Path(source).expanduser().absolute())
            if full not in _LOADED:
                plugins.append(_load(Plugin(full)))
    except BaseException:
        for plugin in reversed(plugins):
            plugin.unload()
        raise
    return plugins


def loaded() -> list[str]:
    """The sources of this process's plug-ins, for `load_plugins` in a process that it starts."""
    return list(_LOADED)


def plugin_names() -> list[str]:
    """The names of this process's plug-ins, without folders."""
    return [plugin.name for plugin in _LOADED.values()]


class AlsoThere:
    """Put first into what is pickled for another process, it loads there what is loaded here."""

    def __reduce__(self) -> tuple[Any, ...]:
        return load_plugins, (loaded(),)


def _load(plugin: Plugin) -> Plugin:
    """Run a plug-in's code. Raises: UserError: it fails; nothing of it stays."""
    installed = plugin.source.startswith(_INSTALLED)
    module = _installed_module(plugin.source) if installed else _module(Path(plugin.source))
    register = getattr(module, "register", None)
    if not callable(register):
        raise UserError(f"The plug-in {plugin.source} has no function register.", FORM)
    try:
        with _failing(plugin.source, getattr(module, "__file__", None)):
            register(plugin)
    except BaseException:
        plugin.unload()
        raise
    _LOADED[plugin.source] = plugin
    return plugin


def _installed_module(source: str) -> Any:
    point = next(point for point in _entry_points() if _INSTALLED + point.name == source)
    with _failing(source, None):
        return point.load()


def _entry_points() -> list[Any]:
    from importlib.metadata import entry_points

    return list(entry_points(group=ENTRY_POINTS))


def _module(file: Path) -> ModuleType:
    """The module that a file's code makes; other processes find it under the same name."""
    if not file.is_file():
        what = "is no file" if file.exists() else "does not exist"
        raise UserError(f"The plug-in {file} {what}.", "Give a Python file.")
    module = ModuleType(_module_name(file))
    module.__file__ = str(file)
    try:
        code = compile(file.read_bytes(), str(file), "exec")
    except SyntaxError as error:
        place = f", line {error.lineno}" if error.lineno else ""
        raise UserError(f"The plug-in {file}{place}, is no valid Python: {error.msg}.", "Correct the file.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"The plug-in {file} can't be read: {error}.", "Check the file.") from error
    sys.modules[module.__name__] = module
    try:
        with _failing(str(file), str(file)):
            exec(code, module.__dict__)
    except BaseException:
        sys.modules.pop(module.__name__, None)
        raise
    return module


def _module_name(file: Path) -> str:
    return f"segautoconfig_plugin_{re.sub(r'[^0-9A-Za-z_]', '_', file.stem)}_{zlib.crc32(str(file).encode()):08x}"


@contextmanager
def _failing(source: str, file: str | None) -> Iterator[None]:
    """Whatever is raised becomes a UserError with the place in the plug-in."""
    try:
        yield
    except Cancelled:
        raise
    except (Exception, SystemExit) as error:
        line = _line(error.__traceback__, file)
        place = f"The plug-in {source}{f', line {line}' if line else ''}"
        if isinstance(error, UserError):
            raise UserError(f"{place}: {error}", "Correct the file, or leave it out.") from error
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        hint = "Correct the file, or leave it out."
        if isinstance(error, ModuleNotFoundError):
            hint = f"Install {error.name} in this Python ({sys.executable}), or leave the plug-in out."
        raise UserError(f"{place}, fails: {what}.", hint) from error


@contextmanager
def blaming(report: Reporter = silent) -> Iterator[None]:
    """An exception that comes out of a plug-in's code is the plug-in's: it becomes a UserError with file and line.

    Args:
        report: Gets the traceback from the plug-in's code on.
    """
    try:
        yield
    except (UserError, Cancelled, MemoryError, OSError):
        raise
    except Exception as error:
        for cause in _causes(error):
            for source in loaded():
                line = _line(cause.__traceback__, source)
                if line is not None:
                    report("log", message=_trace(cause, source), level="debug")
                    what = f"{type(cause).__name__}: {cause}" + ("" if cause is error else f" ({error})")
                    text = f"The plug-in {source}, line {line}, failed: {what}"
                    raise UserError(text, "Correct the file.") from error
        raise


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception, what it was raised from, and so on."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _trace(error: BaseException, file: str) -> str:
    """The traceback of an exception without what is before a file's first line in it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != file:
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace, chain=False))


def _line(trace: TracebackType | None, file: str | None) -> int | None:
    """The line of a file in which an exception was raised, or which called what raised it."""
    lines = [frame.lineno for frame in traceback.extract_tb(trace) if frame.filename == file]
    return lines[-1] if lines else None
