"""A job's log as text: what its events say, and the end of what its process has written."""

import os
from pathlib import Path

from SegAutoConfigGui.Problems import problemsOfEvent
from segautoconfiglib.base.events import Event


def linesOf(event: Event) -> list[str]:
    """What an event says in a log for people; nothing for most."""
    data = event.data
    if event.kind in ("log", "done") and data.get("level", "info") != "debug":
        return str(data.get("message") or "").splitlines()
    if event.kind in ("warning", "error"):
        name = event.kind.capitalize()
        return [f"{name}: {problem}" for problem in problemsOfEvent(data)]
    if event.kind == "artifact":
        description = data.get("description")
        return [f"Wrote {data.get('path', '')}" + (f" ({description})" if description else "")]
    return []


def tailOfText(file: Path, characters: int) -> str:
    """The end of a text file, whole lines; empty if it can't be read.

    Args:
        file: In UTF-8.
        characters: About how many at most.
    """
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - characters))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if size <= characters else text.partition("\n")[2] or text
