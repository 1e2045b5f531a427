"""ctk widgets."""

from __future__ import annotations

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Qt, Signal

from ..pythonqt import declare_signal
from ..strict import HostError
from .base import STRINGS, qt_properties

HEADER = 22  # pixels


class ctkCollapsibleButton(QtWidgets.QWidget):
    """A header that shows and hides what lies below it; without the animation."""

    vars().update(qt_properties(text=(str, "", "update"), collapsedHeight=(int, 10)))
    contentsCollapsed = Signal(bool)
    toggled = Signal(bool)
    clicked = Signal(bool)

    def __init__(self, text="", parent=None):
        if isinstance(text, QtWidgets.QWidget):
            text, parent = "", text
        super().__init__(parent)
        self._collapsed = False
        self.setText(text)
        self.setContentsMargins(2, HEADER + 2, 2, 2)

    def isCollapsed(self):
        return self._collapsed

    def setCollapsed(self, collapsed):
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                child.setVisible(not collapsed)
        self.setMaximumHeight(HEADER + 4 if collapsed else 16777215)
        self.update()
        self.contentsCollapsed.emit(collapsed)
        self.toggled.emit(not collapsed)

    def setChecked(self, checked):
        self.setCollapsed(not checked)

    collapsed = Property(bool, isCollapsed, setCollapsed)
    checked = Property(bool, lambda self: not self._collapsed, setChecked)

    def click(self):
        self.setCollapsed(not self._collapsed)
        self.clicked.emit(not self._collapsed)

    def mousePressEvent(self, event):
        if event.position().y() < HEADER + 2:
            self.click()

    def paintEvent(self, event):
        painter = QtGui.QPainter(self)
        palette = self.palette
        painter.fillRect(0, 0, self.width, HEADER, palette.color(QtGui.QPalette.Button).darker(108))
        painter.setPen(palette.color(QtGui.QPalette.Mid))
        painter.drawRect(0, 0, self.width - 1, (HEADER if self._collapsed else self.height) - 1)
        painter.setPen(palette.color(QtGui.QPalette.ButtonText))
        painter.drawText(8, 16, ("▸ " if self._collapsed else "▾ ") + self.property("text"))


class ctkCollapsibleGroupBox(QtWidgets.QGroupBox):
    def __init__(self, title="", parent=None):
        super().__init__(parent)
        self.setTitle(title if isinstance(title, str) else "")
        self.setCheckable(True)

    def setCollapsed(self, collapsed):
        self.setChecked(not collapsed)

    collapsed = Property(bool, lambda self: not self.isChecked(), setCollapsed)


class ctkPathLineEdit(QtWidgets.QWidget):
    vars().update(
        qt_properties(
            label=(str, ""), filters=(int, 0), nameFilters=(STRINGS, []), settingKey=(str, ""),
            showHistoryButton=(bool, True), showBrowseButton=(bool, True), sizeAdjustPolicy=(int, 0),
            minimumContentsLength=(int, 0),
        )
    )  # fmt: skip
    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)
    NoFilter, Dirs, Files, Readable, Writable = 0, 0x1, 0x2, 0x10, 0x20

    def __init__(self, parent=None):
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._edit, self._browse = QtWidgets.QLineEdit(), QtWidgets.QToolButton()
        self._browse.setText("…")
        self._browse.clicked.connect(self.browse)
        layout.addWidget(self._edit)
        layout.addWidget(self._browse)
        self._edit.textChanged.connect(self.currentPathChanged)

    def setCurrentPath(self, path):
        self._edit.setText(path)

    currentPath = Property(str, lambda self: self._edit.property("text"), setCurrentPath)

    def addCurrentPathToHistory(self):
        pass

    def browse(self):
        raise HostError("ctkPathLineEdit.browse opens a dialog; set currentPath")


class ctkDirectoryButton(QtWidgets.QPushButton):
    directoryChanged = Signal(str)
    _folder = "."

    def setDirectory(self, folder):
        if QtCore.QDir(folder) != QtCore.QDir(self._folder):
            self._folder = QtCore.QDir(folder).absolutePath()
            self.setText(self._folder)
            self.directoryChanged.emit(self._folder)

    directory = Property(str, lambda self: self._folder, setDirectory)


class ctkColorPickerButton(QtWidgets.QPushButton):
    vars().update(qt_properties(displayColorName=(bool, True, "_show"), dialogOptions=(int, 0)))
    colorChanged = Signal(QtGui.QColor)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._color = QtGui.QColor(Qt.black)
        self._show()

    def _show(self):
        pixmap = QtGui.QPixmap(14, 14)
        pixmap.fill(self._color)
        self.setIcon(QtGui.QIcon(pixmap))
        self.setText(self._color.name() if self.property("displayColorName") else "")

    def setColor(self, color):
        if color != self._color:
            self._color = QtGui.QColor(color)
            self._show()
            self.colorChanged.emit(self._color)

    color = Property(QtGui.QColor, lambda self: self._color, setColor)


class ctkSliderWidget(QtWidgets.QDoubleSpinBox):
    """The number box only."""

    vars().update(qt_properties(tracking=(bool, True), pageStep=(float, 10.0)))
    valueIsChanging = Signal(float)


class ctkDoubleSpinBox(QtWidgets.QDoubleSpinBox):
    pass


class ctkComboBox(QtWidgets.QComboBox):
    vars().update(qt_properties(defaultText=(str, "")))


class ctkCheckableComboBox(QtWidgets.QComboBox):
    """Each entry has a check box; the closed box lists the checked entries."""

    checkedIndexesChanged = Signal()

    def __init__(self, parent=None):
        super().__init__(parent)
        self.model().dataChanged.connect(self._changed)

    def _changed(self, *_):
        self.update()
        self.checkedIndexesChanged.emit()

    def _rows(self):
        return [self.model().index(row, 0) for row in range(self.model().rowCount())]

    def checkState(self, index):
        state = index.data(Qt.CheckStateRole)
        return Qt.Unchecked if state is None else Qt.CheckState(state)

    def setCheckState(self, index, state):
        if self.checkState(index) != Qt.CheckState(state):
            self.model().setData(index, Qt.CheckState(state), Qt.CheckStateRole)

    def checkedIndexes(self):
        return [index for index in self._rows() if self.checkState(index) == Qt.Checked]

    def allChecked(self):
        return len(self.checkedIndexes()) == len(self._rows())

    def noneChecked(self):
        return not self.checkedIndexes()

    def paintEvent(self, event):
        draw_combo_box(self, ", ".join(index.data() for index in self.checkedIndexes()))


def draw_combo_box(box, text: str) -> None:
    """Paint a closed combo box with another text than its current entry's."""
    painter, option = QtWidgets.QStylePainter(box), QtWidgets.QStyleOptionComboBox()
    box.initStyleOption(option)
    option.currentText = text
    painter.drawComplexControl(QtWidgets.QStyle.CC_ComboBox, option)
    painter.drawControl(QtWidgets.QStyle.CE_ComboBoxLabel, option)


class ctkSearchBox(QtWidgets.QLineEdit):
    vars().update(qt_properties(showSearchIcon=(bool, False), alwaysShowClearIcon=(bool, False)))


class ctkFittedTextBrowser(QtWidgets.QTextBrowser):
    vars().update(
        qt_properties(
            collapsed=(bool, True), showDetailsText=(str, ""), hideDetailsText=(str, ""),
            disableMouseScroll=(bool, False),
        )
    )  # fmt: skip


class ctkMessageBox(QtWidgets.QMessageBox):
    vars().update(qt_properties(dontShowAgainVisible=(bool, False), dontShowAgainSettingsKey=(str, "")))


CLASSES = (
    ctkCollapsibleButton, ctkCollapsibleGroupBox, ctkPathLineEdit, ctkDirectoryButton, ctkColorPickerButton,
    ctkSliderWidget, ctkDoubleSpinBox, ctkComboBox, ctkCheckableComboBox, ctkSearchBox, ctkFittedTextBrowser,
    ctkMessageBox,
)  # fmt: skip

declare_signal(ctkPathLineEdit, "currentPathChanged(QString)", "currentPathChanged")
