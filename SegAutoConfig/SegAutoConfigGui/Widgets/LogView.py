"""The live log of a job in a text box, and its whole file in the system's editor."""

from pathlib import Path

import qt

#: Lines that are kept in the box; the file has them all.
LINES = 2000


class LogView:
    """Shows lines as they come; follows the end as long as the user does not scroll up.

    Args:
        textEdit: A QPlainTextEdit.
        button: Opens the log file.
    """

    def __init__(self, textEdit, button) -> None:
        self._edit, self._button = textEdit, button
        self._file: Path | None = None
        textEdit.readOnly = True
        textEdit.maximumBlockCount = LINES
        button.connect("clicked()", self.openFile)
        self.show(None, [])

    def show(self, file: "Path | None", lines) -> None:
        """Begin with another job.

        Args:
            file: Its log file; None: nothing is shown.
            lines: What it has said so far.
        """
        self._file = file
        self._button.enabled = file is not None
        self._edit.setPlainText("\n".join(lines))
        self._scrollToEnd()

    def append(self, lines) -> None:
        """Add lines."""
        if not lines:
            return
        bar = self._edit.verticalScrollBar()
        atEnd = bar.value >= bar.maximum - 2
        self._edit.appendPlainText("\n".join(lines))
        if atEnd:
            self._scrollToEnd()

    def openFile(self) -> None:
        """Open the log file in whatever the system opens text files with."""
        if self._file is not None:
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self._file)))

    def _scrollToEnd(self) -> None:
        bar = self._edit.verticalScrollBar()
        bar.value = bar.maximum
