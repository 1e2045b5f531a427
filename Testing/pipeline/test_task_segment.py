"""``TotalSegmentator`` and the Python call: images in all forms, all kinds of output, and what is refused.

The networks know structures by their intensity (`task_steps`); `test_seed_commands` has real ones.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

torch = pytest.importorskip("torch")

from segautoconfiglib.base.cancel import CancelToken  # noqa: E402
from segautoconfiglib.base.errors import Cancelled, UserError  # noqa: E402
from segautoconfiglib.image.files import read_labels, read_stored, write_image  # noqa: E402
from segautoconfiglib.image.label_names import read_label_table  # noqa: E402
from segautoconfiglib.image.volume import Geometry, Volume  # noqa: E402
from segautoconfiglib.tasks.api import run_task, totalsegmentator  # noqa: E402
from segautoconfiglib.tasks.catalogue import find_task, load_catalogue  # noqa: E402
from segautoconfiglib.tasks.run import segment  # noqa: E402
from segautoconfiglib.tasks.wishes import Wishes  # noqa: E402
from task_steps import KnownModels, scan, stored  # noqa: E402
from task_weights import make_task_weights  # noqa: E402

Cli = Callable[..., Any]
Refused = Callable[..., str]
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

ABDOMEN = {"liver": ((8, 9, 10), 4), "spleen": ((12, 10, 17), 3), "heart": ((15, 15, 6), 3)}
TOTAL, COLOUR = find_task("total"), load_catalogue().colour
SLICES = tuple(range(0, 40, 5))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights of this computer."""
    monkeypatch.delenv("TOTALSEG_WEIGHTS_PATH", raising=False)
    monkeypatch.setenv("TOTALSEG_HOME_DIR", str(tmp_path / "home"))


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> KnownModels:
    """Networks in place of weights."""
    models = KnownModels()

    def with_models(volume: Volume, task: Any, options: Any, **tools: Any) -> Any:
        return segment(volume, task, options, **{**tools, "models": models})

    monkeypatch.setattr("segautoconfiglib.tasks.api.segment", with_models)
    return models


@pytest.fixture
def image() -> sitk.Image:
    return scan(ABDOMEN)


@pytest.fixture
def ct(image: sitk.Image, tmp_path: Path) -> Path:
    """The image as a file."""
    sitk.WriteImage(image, str(tmp_path / "ct.nii.gz"))
    return tmp_path / "ct.nii.gz"


@pytest.fixture
def fast_labels(image: sitk.Image) -> np.ndarray:
    """(z, y, x) of total --fast."""
    return segment(stored(image), TOTAL, Wishes(fast=True).options(), models=KnownModels()).labels


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def done(outcome: Any) -> dict[str, Any]:
    """The last event of a task for programs."""
    assert outcome.code == 0, outcome.err
    return next(event for event in outcome.of("done") if event.get("stage") == "task")


def test_one_file_per_structure(
    cli: Cli, known: KnownModels, ct: Path, fast_labels: np.ndarray, tmp_path: Path
) -> None:
    outcome = cli("TotalSegmentator", "-i", ct, "-o", tmp_path / "out", "--fast", "--events", "jsonl")
    event = done(outcome)
    assert names_in(tmp_path / "out") == {f"{name}.nii.gz" for name in TOTAL.structures}
    for name in ABDOMEN:
        mask = read_labels(tmp_path / "out" / f"{name}.nii.gz")
        np.testing.assert_array_equal(mask.array[0], fast_labels == TOTAL.label(name))
        assert mask.array.any()
        assert mask.geometry.differences(read_stored(ct).geometry) == []
    assert (event["task"], event["labels"]["liver"], len(event["files"])) == ("total", 5, 117)


@pytest.mark.parametrize("flag", ["--ml", "-ml"])
@pytest.mark.parametrize(
    ("output", "file"),
    [
        ("labels.nii.gz", "labels.nii.gz"),
        ("labels.seg.nrrd", "labels.seg.nrrd"),
        ("new/folder", "new/folder/total_segmentation.nii.gz"),
    ],
)
def test_one_file_with_names(
    cli: Cli, known: KnownModels, ct: Path, fast_labels: np.ndarray, tmp_path: Path, flag: str, output: str, file: str
) -> None:
    assert cli("TotalSegmentator", "-i", ct, "-o", tmp_path / output, flag, "-f").code == 0
    np.testing.assert_array_equal(read_labels(tmp_path / file).array[0], fast_labels)
    table = read_label_table(tmp_path / file)
    assert table.names == TOTAL.classes
    assert table.colours[5] == COLOUR("liver")


def test_statistics_preview_and_report(cli: Cli, known: KnownModels, ct: Path, tmp_path: Path) -> None:
    out, report, own = tmp_path / "out", tmp_path / "report.json", tmp_path / "own.json"
    words = ("-i", ct, "-o", out / "l.nii.gz", "--ml", "-sii")
    assert cli("TotalSegmentator", *words, "-s", "-p", "-rp", report).code == 0
    assert names_in(out) == {"l.nii.gz", "statistics.json", "preview_total.png"}
    numbers = json.loads((out / "statistics.json").read_text())
    assert list(numbers) == list(TOTAL.structures)
    labels = read_labels(out / "l.nii.gz")
    inside = read_stored(ct).array[labels.array == TOTAL.label("liver")]
    voxel = float(np.prod(np.array(labels.geometry.spacing_mm, np.float32)))
    assert numbers["liver"]["volume"] == pytest.approx(inside.size * voxel)
    assert numbers["liver"]["intensity"] == pytest.approx(inside.mean(), abs=1e-4)
    content = json.loads(report.read_text())
    assert (content["task"], content["device"], content["num_classes"]) == ("total", "cpu", 117)
    assert content["output_files"] == sorted(str(out / name) for name in names_in(out))
    assert cli("TotalSegmentator", *words, "--statistics", own, "--skip_saving", "-sx", "-sa", "median").code == 0
    extra = json.loads(own.read_text())["liver"]
    assert (extra["n_voxels"], extra["intensity"]) == (inside.size, float(np.median(inside)))


def test_fast_statistics_are_those_of_the_coarse_image(known: KnownModels, image: sitk.Image) -> None:
    _, numbers = totalsegmentator(image, fast=True, statistics=True, stats_include_incomplete=True)
    working = segment(stored(image), TOTAL, Wishes(fast=True).options(), models=KnownModels()).working
    assert working is not None
    inside = working.image.array[0][working.labels == TOTAL.label("liver")]
    assert numbers["liver"] == {"volume": inside.size * 27.0, "intensity": pytest.approx(inside.mean(), abs=1e-4)}


def test_a_subset_is_all_that_is_written(cli: Cli, known: KnownModels, ct: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert cli("TotalSegmentator", "-i", ct, "-o", out, "-rs", "liver", "spleen", "-s").code == 0
    assert names_in(out) == {"liver.nii.gz", "spleen.nii.gz", "statistics.json"}
    assert known.asked == [298, 291]
    assert list(json.loads((out / "statistics.json").read_text())) == ["spleen", "liver"]
    known.asked.clear()
    words = ("-i", ct, "-o", tmp_path / "l.nii.gz", "-ml")
    assert cli("TotalSegmentator", *words, "-rsr", "liver").code == 0
    assert known.asked == [297, 291]
    assert set(np.unique(read_labels(tmp_path / "l.nii.gz").array)) == {0, 5}
    assert read_label_table(tmp_path / "l.nii.gz").names == {5: "liver"}


def test_body_and_skin(cli: Cli, known: KnownModels, tmp_path: Path) -> None:
    sitk.WriteImage(scan({"body_trunc": ((10, 11, 12), 7)}), str(tmp_path / "b.nii.gz"))
    words = ("TotalSegmentator", "-i", tmp_path / "b.nii.gz", "-ta", "body", "-o")
    assert cli(*words, tmp_path / "all").code == 0
    assert names_in(tmp_path / "all") == {
        f"{name}.nii.gz" for name in ("body_trunc", "body_extremities", "body", "skin")
    }
    body, skin = (read_labels(tmp_path / "all" / f"{name}.nii.gz").array for name in ("body", "skin"))
    assert 0 < skin.sum() < body.sum()
    assert cli(*words, tmp_path / "fewer", "-ndm").code == 0
    assert names_in(tmp_path / "fewer") == {"body_trunc.nii.gz", "body_extremities.nii.gz"}


def test_low_resolution_and_old_numbers(cli: Cli, known: KnownModels, ct: Path, tmp_path: Path) -> None:
    low, old = tmp_path / "low.nii.gz", tmp_path / "old.nii.gz"
    assert cli("TotalSegmentator", "-i", ct, "-o", low, "--ml", "-f", "-sl").code == 0
    assert read_labels(low).geometry.spacing_mm == pytest.approx((3, 3, 3))
    assert cli("TotalSegmentator", "-i", ct, "-o", old, "--ml", "-f", "-v1o").code == 0
    assert read_label_table(old).names == load_catalogue().v1_classes
    found = {load_catalogue().v1_classes[int(label)] for label in np.unique(read_labels(old).array)[1:]}
    assert {"liver", "spleen"} <= found


@pytest.mark.parametrize("form", ["folder", "around it", "zip"])
def test_dicom_is_read(
    cli: Cli, known: KnownModels, dicom_series: Callable[..., Any], tmp_path: Path, form: str
) -> None:
    series, source = tmp_path / "scans" / "one", tmp_path / "scans" / "one"
    dicom_series(series, SLICES)
    if form == "around it":
        source = tmp_path / "scans"
    elif form == "zip":
        source = tmp_path / "scan.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for file in series.iterdir():
                archive.write(file, f"../{file.name}")
    assert cli("TotalSegmentator", "-i", source, "-o", tmp_path / "l.nii.gz", "-ml").code == 0
    labels = read_labels(tmp_path / "l.nii.gz")
    assert labels.geometry.differences(read_stored(series).geometry) == []
    assert (labels.array == TOTAL.label("liver")).any()


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_what_is_odd_about_a_series_is_told(
    cli: Cli, known: KnownModels, dicom_series: Callable[..., Any], tmp_path: Path, form: str
) -> None:
    source, report = tmp_path / "scan", tmp_path / "report.json"
    dicom_series(source, (0, 5, 10, 20, 25), slant=0.2)
    if form == "zip":
        source = Path(shutil.make_archive(str(source), "zip", source))
    words = ("-i", source, "-o", tmp_path / "l.nii.gz", "-ml", "-f", "--report", report, "--events", "jsonl")
    outcome = cli("TotalSegmentator", *words)
    assert outcome.code == 0, outcome.err
    told = [event for event in outcome.of("warning") if event["message"].startswith(f"{source}: ")]
    assert ["1 slice missing" in event["message"] for event in told] == [True, False]
    assert ["tilted gantry" in event["message"] for event in told] == [False, True]
    written = json.loads(report.read_text())["warnings"]
    assert all(f"{event['message']} {event['hint']}" in written for event in told)


@pytest.mark.parametrize(
    ("task", "run", "says"), [("total_mr", "total", "total is run"), ("body_mr", "body_mr", "for MR")]
)
def test_the_scanner_decides(
    cli: Cli, known: KnownModels, dicom_series: Callable[..., Any], tmp_path: Path, task: str, run: str, says: str
) -> None:
    dicom_series(tmp_path / "scan", SLICES)
    outcome = cli(
        "TotalSegmentator",
        "-i",
        tmp_path / "scan",
        "-o",
        tmp_path / "l.nii.gz",
        "-ml",
        "-ta",
        task,
        "--events",
        "jsonl",
    )
    assert done(outcome)["task"] == run
    assert any(says in event["message"] for event in outcome.of("warning"))


def test_structures_are_those_of_the_task_that_is_run(
    cli: Cli, refused: Refused, known: KnownModels, dicom_series: Callable[..., Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    dicom_series(tmp_path / "scan", SLICES)
    monkeypatch.setattr("segautoconfiglib.image.dicom.modality", lambda _: "MR")
    words = ("TotalSegmentator", "-i", tmp_path / "scan", "-o", tmp_path / "out", "-rs")
    refused(*words, "lung_upper_lobe_left", says=["task total_mr has no structure 'lung_upper_lobe_left'"])
    outcome = cli(*words, "lung_left")
    assert outcome.code == 0, outcome.err
    assert names_in(tmp_path / "out") == {"lung_left.nii.gz"}


def test_dicom_objects(cli: Cli, known: KnownModels, dicom_series: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    import pydicom

    dicom_series(tmp_path / "scan", SLICES)
    words = ("TotalSegmentator", "-i", tmp_path / "scan", "-o")
    assert cli(*words, tmp_path / "seg.dcm", "-ot", "dicom_seg").code == 0
    assert pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence[1].SegmentLabel == "liver"
    assert cli(*words, tmp_path / "all", "-ot", "nifti,dicom_seg", "dicom_rtstruct").code == 0
    endings = ("_segmentation.nii.gz", "_segmentation_seg.dcm", "_segmentation_rtstruct.dcm")
    assert names_in(tmp_path / "all") == {f"total{ending}" for ending in endings}


def test_nothing_found_is_no_dicom_object(
    cli: Cli, known: KnownModels, dicom_series: Callable[..., Any], tmp_path: Path
) -> None:
    pytest.importorskip("highdicom")
    dicom_series(tmp_path / "scan", SLICES)
    words = ("TotalSegmentator", "-i", tmp_path / "scan", "-ta", "lung_nodules", "-o", tmp_path / "o", "-ot")
    alone = cli(*words, "dicom_seg", "-s", "-p", "-rp", tmp_path / "report.json")
    assert alone.code == 0
    assert "lung_nodules_segmentation_seg.dcm is not written" in alone.err
    assert names_in(tmp_path / "o") == {"statistics.json", "preview_lung_nodules.png"}
    assert json.loads((tmp_path / "report.json").read_text())["output_files"] == sorted(names_in(tmp_path / "o"))
    shutil.rmtree(tmp_path / "o")
    outcome = cli(*words, "dicom_seg", "nifti")
    assert outcome.code == 0
    assert "lung_nodules_segmentation_seg.dcm is not written" in outcome.err
    assert names_in(tmp_path / "o") == {"lung_nodules_segmentation.nii.gz"}


def test_old_results_stay_until_new_ones_are_complete(
    cli: Cli, refused: Refused, known: KnownModels, ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("TotalSegmentator", "-i", ct, "-o", tmp_path / "out", "--fast", "-rs", "liver", "spleen")
    (tmp_path / "out" / "spleen.nii.gz").mkdir(parents=True)
    (tmp_path / "out" / "liver.nii.gz").write_bytes(b"old")
    refused(*words, says=["spleen.nii.gz", "it is a folder"])
    (tmp_path / "out" / "spleen.nii.gz").rmdir()

    def full(*_: Any, **__: Any) -> None:
        raise UserError("The disk is full.", "Free some space.")

    with monkeypatch.context() as patched:
        patched.setattr("segautoconfiglib.tasks.results.write_statistics", full)
        refused(*words, "-s", says=["The disk is full"])
        refused("TotalSegmentator", "-i", ct, "-o", tmp_path / "none" / "x", "-f", "-s", says=["The disk is full"])
    with monkeypatch.context() as patched:
        patched.setattr("segautoconfiglib.tasks.api.write_report", full)
        refused(*words, "-s", tmp_path / "s.json", "-rp", tmp_path / "r.json", says=["The disk is full"])
    assert (tmp_path / "out" / "liver.nii.gz").read_bytes() == b"old"
    assert cli(*words).code == 0
    assert names_in(tmp_path / "out") == {"liver.nii.gz", "spleen.nii.gz"}
    assert read_labels(tmp_path / "out" / "liver.nii.gz").array.any()


@pytest.mark.parametrize("stage", ["total", "write"])
def test_a_stop_leaves_things_as_they_were(ct: Path, tmp_path: Path, stage: str) -> None:
    cancel = CancelToken()

    def stop(kind: str, **data: Any) -> None:
        if kind == "started" and data["stage"] == stage:
            cancel.cancel()

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "liver.nii.gz").write_bytes(b"old")
    with pytest.raises(Cancelled):
        run_task(ct, tmp_path / "out", "total", Wishes(fast=True), KnownModels(), report=stop, cancel=cancel)
    assert names_in(tmp_path / "out") == {"liver.nii.gz"}
    assert (tmp_path / "out" / "liver.nii.gz").read_bytes() == b"old"


def test_what_the_border_cuts_is_told(cli: Cli, known: KnownModels, tmp_path: Path) -> None:
    sitk.WriteImage(scan({"liver": ((2, 9, 10), 4), "spleen": ((12, 10, 17), 3)}), str(tmp_path / "ct.nii.gz"))
    words = ("TotalSegmentator", "-i", tmp_path / "ct.nii.gz", "-o", tmp_path / "l.nii.gz", "--ml", "-s")
    outcome = cli(*words, "-rp", tmp_path / "r.json")
    assert outcome.code == 0
    cut = "1 structure reaches the image's border: 0 in the statistics (liver)."
    assert f"Warning: {cut}\n  --stats_include_incomplete counts what was found of them." in outcome.err
    (told,) = json.loads((tmp_path / "r.json").read_text())["warnings"]
    assert told.startswith(cut)
    assert json.loads((tmp_path / "statistics.json").read_text())["liver"]["volume"] == 0
    assert "Warning" not in cli(*words, "-sii").err


def test_the_last_lines(
    cli: Cli, known: KnownModels, ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file once, as a whole path, and what was found; older masks are told."""
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    words = ("TotalSegmentator", "-i", ct, "-o", "out", "-f", "-rp", "r.json")
    assert cli(*words).code == 0
    (out / "notes.nii.gz").write_bytes(b"no mask")
    outcome = cli(*words, "-rs", "liver", "spleen", "-s", "-sii")
    written = [f"Wrote {out} (2 masks)", f"115 older masks stay in {out}."]
    written += [f"Wrote {tmp_path / file}" for file in ("out/statistics.json", "r.json")]
    assert outcome.err.splitlines()[-5:] == [*written, "total: 2 of 2 structures found."]
    (out / "colon.nii.gz").rename(tmp_path / "colon.nii.gz")
    last = cli("TotalSegmentator", "-i", ct, "-o", out, "-f", "--ml").err.splitlines()[-2:]
    assert last == [f"Wrote {out / 'total_segmentation.nii.gz'}", "total: 3 of 117 structures found."]


def test_quiet(cli: Cli, refused: Refused, known: KnownModels, ct: Path, tmp_path: Path) -> None:
    words = ("TotalSegmentator", "-i", ct, "-q", "-o")
    outcome = cli(*words, tmp_path / "out", "--fast")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    assert "Warning: " in cli(*words, tmp_path / "out", "-ta", "total_mr", "-bs").err
    refused(*words, tmp_path / "out", "-ta", "totl", says=["Near: total"])
    assert done(cli(*words, tmp_path / "out", "--fast", "--events", "jsonl"))["task"] == "total"


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("", "; faster with --fast or --roi_subset."),
        ("--fast", "; faster with --roi_subset."),
        ("--fast --save_lowres", "."),
        ("-ff -rs liver", "."),
        ("-rs liver", "; faster with --fast."),
        ("-ta body", "; faster with --fast."),
        ("-ta lung_nodules", "."),
    ],
)
def test_only_advice_that_can_be_followed(
    cli: Cli, known: KnownModels, ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, advice: str
) -> None:
    monkeypatch.setattr("segautoconfiglib.networks.device.resolve_device", lambda _: torch.device("cpu"))
    outcome = cli("TotalSegmentator", "-i", ct, "-o", tmp_path / "l.nii.gz", "--ml", *words.split())
    assert outcome.code == 0
    assert f"There is no GPU: the processor is used{advice}\n" in outcome.err


def test_which_series_is_read_is_told(
    cli: Cli, known: KnownModels, dicom_series: Callable[..., Any], tmp_path: Path
) -> None:
    series = tmp_path / "patient" / "study" / "one"
    dicom_series(series, SLICES)
    words = ("-o", tmp_path / "l.nii.gz", "--ml", "-f")
    told = f"The DICOM series 'Chest' in {series} is read, the only one below {tmp_path / 'patient'}.\n"
    assert told in cli("TotalSegmentator", "-i", tmp_path / "patient", *words).err
    assert "DICOM series" not in cli("TotalSegmentator", "-i", series, *words).err


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a file system that refuses root too")
@pytest.mark.parametrize(
    ("words", "option"),
    [
        ("-o /proc/foo", "-o"),
        ("-o /proc/foo/l.nii.gz --ml --report /proc/foo/r.json", "-o"),
        ("-o out --report /proc/foo/r.json", "--report"),
        ("-o out -s /proc/foo/s.json", "--statistics"),
    ],
)
def test_an_unwritable_output(
    refused: Refused, known: KnownModels, ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str,
    option: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    says = ["Can't write to /proc/foo", f"Choose another folder ({option}), or change the permissions."]
    refused("TotalSegmentator", "-i", ct, *words.split(), says=says)


def test_what_is_said_when_it_is_stopped(
    cli: Cli, known: KnownModels, ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("segautoconfiglib.tasks.results.write_masks", stopped)
    outcome = cli("TotalSegmentator", "-i", ct, "-o", tmp_path / "out", "--fast")
    assert outcome.code == 130
    assert outcome.err.splitlines()[-1] == "Stopped. Nothing was written; what was there is as it was."
    assert not (tmp_path / "out").exists()


def test_the_python_call(
    known: KnownModels, image: sitk.Image, ct: Path, fast_labels: np.ndarray, tmp_path: Path
) -> None:
    given = totalsegmentator(image, task="total", fast=True, quiet=True, device="cpu")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(given), fast_labels)
    assert given.GetOrigin() == image.GetOrigin()
    read = totalsegmentator(ct, tmp_path / "l.nii.gz", ml=True, fast=True)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read), fast_labels)
    np.testing.assert_array_equal(read_labels(tmp_path / "l.nii.gz").array[0], fast_labels)
    volume = totalsegmentator(stored(image), fast=True, roi_subset=["liver"])
    assert isinstance(volume, Volume)
    assert set(np.unique(volume.array)) == {0, 5}
    with pytest.raises(UserError, match="no output was named"):
        totalsegmentator(ct, preview=True)
    _, numbers = totalsegmentator(ct, fast=True, statistics=tmp_path / "new" / "numbers.json")
    assert json.loads((tmp_path / "new" / "numbers.json").read_text()) == numbers
    with pytest.raises(TypeError, match=r"totalsegmentator\(\) has no argument 'fats'\. Near: fast"):
        totalsegmentator(ct, fats=True)
    with pytest.raises(UserError, match="list of names"):
        totalsegmentator(ct, roi_subset="liver")
    with pytest.raises(UserError, match="Radiomics"):
        totalsegmentator(ct, radiomics=True)


def test_the_lists(cli: Cli) -> None:
    assert "brain_aneurysm" in cli("TotalSegmentator", "--list-tasks").out
    assert "costal_cartilages" in cli("TotalSegmentator", "-lc").out
    assert "body_trunc" in cli("TotalSegmentator", "--list-classes", "body").out
    version = cli("TotalSegmentator", "--version")
    assert load_catalogue().version in version.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("-o out", ["Missing: -i"]),
        ("-i ct.nii.gz", ["Missing: -o"]),
        ("-i ct.nii.gz -o out -ta totl", ["no task 'totl'", "Near: total"]),
        ("-i ct.nii.gz -o out -ta liver_vessel", ["no task 'liver_vessel'", "liver_vessels"]),
        ("-i ct.nii.gz -o out -rs livr spleen", ["no structure 'livr'", "Near: liver", "totalseg_info"]),
        ("-i ct.nii.gz -o out -ta body -rs body_trunc", ["can't be restricted"]),
        ("-i ct.nii.gz -o out -ta teeth --fast", ["has no fast form"]),
        ("-i ct.nii.gz -o out -ms small", ["no small models"]),
        ("-i ct.nii.gz -o out -ms tiny", ["'tiny'", "big or small"]),
        ("-i ct.nii.gz -o out -ro 7", ["resampling order is 7"]),
        ("-i ct.nii.gz -o out -sl", ["Only fast results"]),
        ("-i ct.nii.gz -o out -f -sl -ot dicom_seg", ["grid of their series"]),
        ("-i ct.nii.gz -o out -ot dicom_seg", ["come as DICOM only"]),
        ("-i ct.nii.gz -o out -ot niftii", ["Unknown output type niftii", "dicom_seg"]),
        ("-i ct.nii.gz -o out.nii.gz", ["name of a file", "--ml"]),
        ("-i ct.nii.gz -o out.txt", ["out.txt", "name of a file"]),
        ("-i ct.nii.gz -o out.txt --ml", ["out.txt", "must end with .nii.gz"]),
        ("-i ct.nii.gz -o out.dcm --ml", ["out.dcm", "must end with .nii.gz"]),
        ("-i ct.nii.gz -o out.png --ml", ["out.png", "must end with .nii.gz"]),
        ("-i scan -o out.nii.gz -ot dicom_seg", ["out.nii.gz", "must end with .dcm"]),
        ("-i ct.nii.gz -o ct.nii.gz --ml", ["ct.nii.gz is part of the input"]),
        ("-i ct.nii.gz -o folder/../ct.nii.gz --ml -f -rs liver", ["is part of the input"]),
        ("-i link.nii.gz -o ct.nii.gz --ml", ["ct.nii.gz is part of the input"]),
        ("-i heart.nii.gz -o .", ["heart.nii.gz is part of the input"]),
        ("-i ct.nii.gz -o out --statistics ct.nii.gz", ["ct.nii.gz is part of the input"]),
        ("-i ct.nii.gz -o out -ss --report ct.nii.gz", ["ct.nii.gz is part of the input"]),
        ("-i scan -o out --report scan/1_1.dcm", ["is part of the input"]),
        ("-i around -o around/scan/1_1.dcm -ot dicom_seg", ["is part of the input"]),
        ("-i scan.zip -o out --report scan.zip", ["scan.zip is part of the input"]),
        ("-i ct.mhd -o out --report ct.zraw", ["ct.zraw is part of the input"]),
        ("-i ct.nii.gz -o out -s x.json --report x.json", ["x.json is named for two results"]),
        ("-i ct.nii.gz -o out --report folder", ["folder: it is a folder"]),
        ("-i ct.nii.gz -o out -d gpu9", ["'gpu9' is no device"]),
        ("-i ct.nii.gz -o out -rmb 0", ["number above 0"]),
        ("-i ct.nii.gz -o out --radiomics", ["Radiomics", "pyradiomics"]),
        ("-i ct.nii.gz -o out -sp p.npz", ["Probabilities"]),
        ("-i ct.nii.gz -o out --higher_order_resampling_LEGACY", ["--higher_order_resampling"]),
        ("-i ct.nii.gz -o ct.nii.gz/out", ["Can't write", "ct.nii.gz"]),
        ("-i none.nii.gz -o out", ["none.nii.gz does not exist"]),
        ("-i flat.png -o out", ["2D"]),
        ("-i flat.nii.gz -o out", ["2D"]),
        ("-i empty.nii.gz -o out", ["is empty", "value 0"]),
        ("-i nan.nii.gz -o out", ["nan.nii.gz holds 1 voxel", "NaN"]),
        ("-i cut.nii.gz -o out", ["cut.nii.gz"]),
        ("-i folder -o out", ["no DICOM"]),
        ("-i images.zip -o out", ["images.zip holds no DICOM", "Unpack it"]),
        ("-i ct.nii.gz -o out -lc bodi", ["no task 'bodi'", "body"]),
    ],
)
def test_bad_input(
    refused: Refused, known: KnownModels, ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str,
    says: list[str], dicom_series: Callable[..., Any],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    if "scan" in words or "around" in words:
        dicom_series(tmp_path / "scan", SLICES)
        dicom_series(tmp_path / "around" / "scan", SLICES)
        shutil.make_archive(str(tmp_path / "scan"), "zip", tmp_path / "scan")
    shutil.copyfile(ct, tmp_path / "heart.nii.gz")
    (tmp_path / "link.nii.gz").symlink_to(ct)
    write_image(read_stored(ct).array[0], tmp_path / "ct.mhd", read_stored(ct).geometry)
    flat = Geometry((999, 1, 1), (0, 0), (1, 0, 0, 1), 2)
    write_image(np.arange(36, dtype=np.uint8).reshape(1, 6, 6), tmp_path / "flat.png", flat)
    write_image(np.arange(36, dtype=np.int16).reshape(1, 6, 6), tmp_path / "flat.nii.gz", flat)
    write_image(np.zeros((4, 4, 4), np.int16), tmp_path / "empty.nii.gz", Geometry((1, 1, 1)))
    nan = np.zeros((4, 4, 4), np.float32)
    nan[0, 0, 0] = np.nan
    write_image(nan, tmp_path / "nan.nii.gz", Geometry((1, 1, 1)))
    (tmp_path / "cut.nii.gz").write_bytes(ct.read_bytes()[:5000])
    (tmp_path / "folder").mkdir()
    shutil.copyfile(ct, tmp_path / "folder" / "ct.nii.gz")
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.write(ct, "ct.nii.gz")
    refused("TotalSegmentator", *words.split(), says=says)


def test_without_weights(refused: Refused, ct: Path, tmp_path: Path) -> None:
    text = refused(
        "TotalSegmentator", "-i", ct, "-o", tmp_path / "out",
        says=["Weights are missing", "Dataset291_TotalSegmentator_part1", "totalseg_download_weights -t 291", "home"],
    )  # fmt: skip
    assert "Dataset295_" in text
    refused("TotalSegmentator", "-i", ct, "-o", tmp_path / "out", "-ta", "face", says=["licence key"])


def test_weights_of_another_task(refused: Refused, ct: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    (model,) = make_task_weights(weights, "body", "fast", real=False)
    model.parent.rename(weights / "Dataset297_TotalSegmentator_total_3mm_1559subj")
    target = weights / "Dataset297_TotalSegmentator_total_3mm_1559subj"
    (target / model.name).rename(target / find_task("total").mode(fast=True).parts[0].model_name)
    refused(
        "TotalSegmentator", "-i", ct, "-o", tmp_path / "out", "--fast", "--weights", weights,
        says=["weights of another task", "2 labels, the task 117"],
    )  # fmt: skip
