"""What all panels (tabs) have in common."""

from typing import Any, ClassVar

import slicer


class Panel:
    """One tab of the module.

    A panel reads the scene and the settings, and starts jobs; what is computed lies in the other files of this package.

    Attributes:
        host: The module's widget, which has ``logic``, ``parameters``, ``showProblems``, ``openPanel`` and more.
        root: The widget made from the panel's .ui file.
        ui: Its named widgets.
        entered: True while the user sees the tab.
    """

    name: ClassVar[str] = ""
    #: The tab's text, translated: a property of each panel.
    title: str

    def __init__(self, host: Any) -> None:
        self.host = host
        self.root = slicer.util.loadUI(host.resourcePath(f"UI/{type(self).__name__}.ui"))
        self.ui = slicer.util.childWidgetVariables(self.root)
        self.entered = False
        if hasattr(self.ui, "setupButton"):  # in the tabs that can do nothing without the engine
            self.ui.setupButton.connect("clicked()", self.openSetup)

    @property
    def logic(self):
        """The module's logic."""
        return self.host.logic

    @property
    def parameters(self):
        """The scene's parameters; None while the scene is being closed."""
        return self.host.parameters

    def setup(self) -> None:
        """Connect widgets; called once."""

    def openSetup(self) -> None:
        """Show the tab in which what the engine needs is installed and chosen."""
        self.host.openPanel("Setup")

    def enter(self) -> None:
        """The user opens the tab."""
        self.entered = True

    def exit(self) -> None:
        """The user goes to another tab or module."""
        self.entered = False

    def setParameters(self, parameters: Any) -> None:
        """Another scene: take its parameters (None: let go of the old ones)."""

    def changed(self, topic: str) -> None:
        """Something changed elsewhere: "datasets", "models" or "engine"."""

    def cleanup(self) -> None:
        """The module ends: stop timers and observers."""
