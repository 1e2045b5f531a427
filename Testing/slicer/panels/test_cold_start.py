"""What opening the module costs: measured in a process of its own, in which nothing else was imported before."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json, sys, time
import slicer
import slicerhost.qtapp as host
host.start()
import numpy  # Slicer itself has it loaded
before = set(sys.modules)
start = time.process_time()
module = host.import_module({module!r})
listed = time.process_time()
widget = host.load_module({module!r})
opened = time.process_time()
new = sorted(set(sys.modules) - before)
print("RESULT " + json.dumps({{"import_s": listed - start, "open_s": opened - listed, "modules": new,
      "children": len(widget.parent.findChildren(__import__("qt").QWidget))}}))
"""


def test_opening_loads_no_engine_and_no_third_party_package(repository: Path, tmp_path: Path) -> None:
    module = str(repository / "SegAutoConfig" / "SegAutoConfig.py")
    folders = [str(repository / name) for name in ("SegAutoConfigLib", "SegAutoConfig", "Testing/SlicerHost")]
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {folders!r}\n" + SCRIPT.format(module=module)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
        check=False,
    )
    lines = [line for line in run.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, run.stderr
    result = json.loads(lines[0].removeprefix("RESULT "))
    packages = {name.split(".")[0] for name in result["modules"]}
    for heavy in ("torch", "pydantic", "SimpleITK", "scipy", "matplotlib", "rich", "blosc2", "batchgenerators"):
        assert heavy not in packages
    engine = {name for name in result["modules"] if name.startswith("segautoconfiglib.")}
    assert all(name.startswith("segautoconfiglib.base") for name in engine), engine
    assert result["children"] > 20
    assert not (tmp_path / "SegAutoConfig").exists()
