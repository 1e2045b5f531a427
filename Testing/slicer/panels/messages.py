"""What a user reads in the module's window."""

from typing import Any

import qt


def messageOf(widget: Any) -> str:
    """The text above the tabs, without its markup; empty where none is shown."""
    ui = widget.ui
    if not ui.messageFrame.isVisibleTo(ui.messageFrame.parent()):
        return ""
    document = qt.QTextDocument()
    document.setHtml(ui.messageLabel.text)
    return document.toPlainText()
