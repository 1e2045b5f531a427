"""The place above the tabs where notes and problems are shown; no pop-ups."""

from collections.abc import Sequence

from SegAutoConfigGui.Problems import Problem

#: Problems of several cases that are written out; the rest is counted.
SHOWN = 8
PROBLEM_STYLE = "QFrame#messageFrame { background: #fbe3e0; border: 1px solid #c0392b; border-radius: 3px; }"
NOTE_STYLE = "QFrame#messageFrame { background: #e3f0e0; border: 1px solid #5a9a4c; border-radius: 3px; }"


class MessageBar:
    """One message at a time: what, what to do about it, and details on demand.

    Args:
        ui: Has messageFrame, messageLabel, messageDetails, messageDetailsButton and messageCloseButton.
    """

    def __init__(self, ui) -> None:
        self.ui = ui
        ui.messageCloseButton.connect("clicked()", self.clear)
        ui.messageDetailsButton.connect("toggled(bool)", ui.messageDetails.setVisible)
        self.clear()

    def showProblems(self, problems: "Problem | Sequence[Problem]", title: str = "") -> None:
        """Show one or several problems."""
        several = [problems] if isinstance(problems, Problem) else list(problems)
        lines = [f"<b>{_escaped(title)}</b>"] if title else []
        lines += [_asHtml(problem) for problem in several[:SHOWN]]
        if len(several) > SHOWN:
            lines.append(f"+ {len(several) - SHOWN}")
        details = "\n\n".join(problem.details for problem in several if problem.details)
        self._show("<br>".join(lines), PROBLEM_STYLE, details)

    def showText(self, text: str) -> None:
        """Show a note."""
        self._show(_escaped(text), NOTE_STYLE, "")

    def clear(self) -> None:
        """Show nothing."""
        self.ui.messageFrame.setVisible(False)

    def _show(self, html: str, style: str, details: str) -> None:
        self.ui.messageFrame.setStyleSheet(style)
        self.ui.messageLabel.text = html
        self.ui.messageDetails.plainText = details
        self.ui.messageDetailsButton.setVisible(bool(details))
        self.ui.messageDetailsButton.checked = False
        self.ui.messageDetails.setVisible(False)
        self.ui.messageFrame.setVisible(True)


def _asHtml(problem: Problem) -> str:
    case = f"<b>{_escaped(problem.case)}</b>: " if problem.case else ""
    hint = f" <i>{_escaped(problem.hint)}</i>" if problem.hint else ""
    return f"{case}{_escaped(problem.message)}{hint}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", "<br>")
