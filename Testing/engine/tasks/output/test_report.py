"""The report of a run."""

from __future__ import annotations

import json
from pathlib import Path

from segautoconfiglib import __version__
from segautoconfiglib.tasks.output.report import run_report, write_report


def test_the_report_has_what_programs_need(tmp_path: Path) -> None:
    output = tmp_path / "out"
    content = run_report(
        task="total",
        modality="CT",
        licence=False,
        device="cuda:1",
        source=tmp_path / "scan.nii.gz",
        output=output,
        files=[output / "spleen.nii.gz", output / "liver.nii.gz", tmp_path / "stats.json"],
        weights=[tmp_path / "model"],
        classes={1: "spleen", 5: "liver"},
        runtime_seconds=12.3456,
        options={"fast": True, "fastest": False, "multilabel": False, "roi_subset": ["spleen", "liver"]},
        warnings=["cut off"],
    )
    write_report(tmp_path / "report.json", content)
    read = json.loads((tmp_path / "report.json").read_text())
    assert read == content
    assert read["engine_version"] == __version__
    assert (read["device"], read["runtime_seconds"], read["num_classes"]) == ("gpu", 12.35, 2)
    assert read["weights"] == [str(tmp_path / "model")]
    assert read["classes"] == {"1": "spleen", "5": "liver"}
    assert read["output_files"] == [str(tmp_path / "stats.json"), "liver.nii.gz", "spleen.nii.gz"]
    assert (read["fast"], read["roi_subset"], read["warnings"]) == (True, ["spleen", "liver"], ["cut off"])
