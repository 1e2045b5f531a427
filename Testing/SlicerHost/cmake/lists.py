"""The lists of files in the CMakeLists.txt of the engine and of the module: compare with the folders, or write anew.

CMake must be given every file by name (Slicer's macros don't glob); a file that is missing in a list works from a
checkout and is absent from the installed extension.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
#: CMakeLists.txt: its lists, each with the patterns of the files it names, relative to its folder.
LISTS = {
    "SegAutoConfigLib/CMakeLists.txt": {
        "ENGINE_SCRIPTS": ["segautoconfiglib/**/*.py"],
        "ENGINE_RESOURCES": ["segautoconfiglib/**/*"],
    },
    "SegAutoConfig/CMakeLists.txt": {
        "MODULE_SCRIPTS": ["*.py", "SegAutoConfigGui/**/*.py"],
        "MODULE_RESOURCES": ["SegAutoConfigGui/**/*", "Resources/**/*"],
    },
}


def files_there(folder: Path, name: str, patterns: list[str]) -> list[str]:
    """The files that a list must name: Python files in ..._SCRIPTS, all others in ..._RESOURCES."""
    scripts = name.endswith("_SCRIPTS")
    found = {file for pattern in patterns for file in folder.glob(pattern) if file.is_file()}
    kept = [file for file in found if "__pycache__" not in file.parts and not file.name.startswith(".")]
    return sorted(file.relative_to(folder).as_posix() for file in kept if (file.suffix == ".py") == scripts)


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"(set\({name}\n)(.*?)(  \)\n)", re.DOTALL)


def files_listed(text: str, name: str) -> list[str]:
    """The files that a list names, in its order.

    Raises:
        ValueError: the text has no such list.
    """
    match = _pattern(name).search(text)
    if match is None:
        raise ValueError(f"no set({name} ...) in CMakeLists.txt")
    return match[2].split()


def with_list(text: str, name: str, files: list[str]) -> str:
    """The text with these files in the list of this name."""
    return _pattern(name).sub(lambda match: match[1] + "".join(f"  {file}\n" for file in files) + match[3], text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the lists anew instead of comparing")
    write = parser.parse_args().write
    different = False
    for path, lists in LISTS.items():
        cmake = REPOSITORY / path
        before = text = cmake.read_text(encoding="utf-8")
        for name, patterns in lists.items():
            files_listed(text, name)
            text = with_list(text, name, files_there(cmake.parent, name, patterns))
        if text != before and write:
            cmake.write_text(text, encoding="utf-8")
        different = different or text != before
    if different and not write:
        sys.stderr.write("The lists in CMakeLists.txt are not those of the folders: make cmake-lists\n")
    return int(different and not write)


if __name__ == "__main__":
    sys.exit(main())
