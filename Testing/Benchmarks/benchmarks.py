"""What is measured: each benchmark is one command, the same for both sides, on inputs that are made here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import make_data

HERE = Path(__file__).parent
HIPPOCAMPUS, LARGE = "Dataset004_Hippocampus", "Dataset925_LargeCT"
PLANS, ISOTROPIC = "nnUNetPlans", "iso"
PREDICTED_CASES = 20


class Missing(Exception):  # noqa: N818 - a state of the machine
    """An input of a benchmark is not there."""


@dataclass(frozen=True)
class Side:
    """One of the two programs.

    Attributes:
        name: "ours" or "peer".
        python: Its interpreter.
        work: Its folders for preprocessed data, models and results; raw data are shared.
        threads: That numerical libraries may use.
    """

    name: str
    python: Path
    work: Path
    threads: int = 1

    @property
    def environment(self) -> dict[str, str]:
        """The variables of its processes."""
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(self.threads))
        folders = {f"nnUNet_{name}": str(self.work / name) for name in ("preprocessed", "results")}
        workers = {"nnUNet_def_n_proc": "2", "nnUNet_n_proc_DA": "2"}
        return os.environ | threads | folders | workers | {"nnUNet_raw": str(self.work.parent / "raw")}

    def command(self, words: list[str]) -> list[str]:
        """The full command of an nnU-Net command or of a script here."""
        if words[0].endswith(".py"):
            return [str(self.python), str(HERE / words[0]), self.name, *words[1:]]
        if self.name == "peer":
            return [str(self.python.parent / words[0]), *words[1:]]
        return [str(self.python), "-m", "segautoconfiglib", *words]

    def preprocessed(self, dataset: str) -> Path:
        """The dataset's folder of preprocessed data."""
        return self.work / "preprocessed" / dataset

    def call(self, *words: str) -> None:
        """Run something that is not measured."""
        result = subprocess.run(self.command(list(words)), env=self.environment, capture_output=True, text=True)
        if result.returncode:
            raise Missing(f"{' '.join(words)} failed:\n{(result.stderr or result.stdout)[-1500:]}")


@dataclass(frozen=True)
class Benchmark:
    """One row of the table.

    Attributes:
        title: For the table.
        words: The command; see :meth:`Side.command`.
        prepare: Makes the inputs once, from the raw folder, our side and the data folder.
        before: Called before every run, for example to remove what the last run wrote.
        repeat: Runs; the one with the least CPU time counts.
    """

    title: str
    words: Callable[[Side], list[str]]
    prepare: Callable[[Side, Path], None] = lambda side, data: None
    before: Callable[[Side], None] = lambda side: None
    repeat: int = 1


def raw(side: Side) -> Path:
    return side.work.parent / "raw"


def make_hippocampus(ours: Side, data: Path) -> None:
    """The real MR dataset as a raw dataset."""
    if (raw(ours) / HIPPOCAMPUS / "dataset.json").exists():
        return
    source = data / "Task04_Hippocampus"
    if not source.is_dir():
        raise Missing(f"{source} does not exist (set SEGAUTOCONFIG_TEST_DATA)")
    ours.call("nnUNetv2_convert_MSD_dataset", "-i", str(source))


def make_large(ours: Side, data: Path) -> None:
    """The large CT and one plan for both sides (it is our planner's; planning is measured elsewhere)."""
    folder = ours.preprocessed(LARGE)
    if not (folder / f"{ISOTROPIC}.json").exists():
        make_data.make_large_ct(raw(ours) / LARGE)
        ours.call("nnUNetv2_extract_fingerprint", "-d", "925")
        spacing = [str(edge) for edge in make_data.TARGET_SPACING_MM]
        ours.call(
            "nnUNetv2_plan_experiment", "-d", "925", "-overwrite_target_spacing", *spacing,
            "-overwrite_plans_name", ISOTROPIC,
        )  # fmt: skip
    shutil.copytree(folder, ours.work.parent / "peer" / "preprocessed" / LARGE, dirs_exist_ok=True)


def make_logits(kind: str) -> Callable[[Side, Path], None]:
    def make(ours: Side, data: Path) -> None:
        make_large(ours, data)
        file = ours.work.parent / f"logits-{kind}.npy"
        if not file.exists():
            make_data.make_logits(file, kind)

    return make


def make_model(ours: Side, data: Path) -> None:
    """A model that both sides load; trained for one step, as its quality does not matter here."""
    make_hippocampus(ours, data)
    model = Path("results") / HIPPOCAMPUS / f"nnUNetTrainer__{PLANS}__3d_fullres"
    if not (ours.work / model / "fold_all" / "checkpoint_final.pth").exists():
        ours.call("nnUNetv2_plan_and_preprocess", "-d", "4", "-c", "3d_fullres")
        ours.call(
            "nnUNetv2_train", "4", "3d_fullres", "all", "-device", "cpu", "--epochs", "1", "--iterations", "1",
            "--overwrite",
        )  # fmt: skip
    shutil.copytree(ours.work / model, ours.work.parent / "peer" / model, dirs_exist_ok=True)
    images = ours.work.parent / "images"
    images.mkdir(exist_ok=True)
    for file in sorted((raw(ours) / HIPPOCAMPUS / "imagesTr").glob("*.nii.gz"))[:PREDICTED_CASES]:
        shutil.copy(file, images)


def make_predictions(ours: Side, data: Path) -> None:
    make_hippocampus(ours, data)
    make_data.make_predictions(raw(ours) / HIPPOCAMPUS / "labelsTr", ours.work.parent / "predictions")


def remove(dataset: str) -> Callable[[Side], None]:
    return lambda side: shutil.rmtree(side.preprocessed(dataset), ignore_errors=True)


def remove_cases(dataset: str, plans: str) -> Callable[[Side], None]:
    return lambda side: shutil.rmtree(side.preprocessed(dataset) / f"{plans}_3d_fullres", ignore_errors=True)


def export_words(kind: str) -> Callable[[Side], list[str]]:
    def words(side: Side) -> list[str]:
        work, folder = side.work.parent, side.preprocessed(LARGE)
        files = [work / f"logits-{kind}.npy", folder / f"{ISOTROPIC}.json", raw(side) / LARGE / "dataset.json"]
        return ["export_logits.py", *map(str, files), str(side.work / "large.nii.gz")]

    return words


def predict_words(side: Side) -> list[str]:
    output = side.work / "predicted"
    shutil.rmtree(output, ignore_errors=True)
    return [
        "nnUNetv2_predict", "-i", str(side.work.parent / "images"), "-o", str(output), "-d", "4", "-c", "3d_fullres",
        "-f", "all", "-device", "cpu", "--disable_tta",
    ]  # fmt: skip


def evaluate_words(side: Side) -> list[str]:
    dataset = raw(side) / HIPPOCAMPUS / "dataset.json"
    return [
        "nnUNetv2_evaluate_folder", str(raw(side) / HIPPOCAMPUS / "labelsTr"), str(side.work.parent / "predictions"),
        "-djfile", str(dataset), "-pfile", str(dataset), "-o", str(side.work / "summary.json"), "-np", "2",
    ]  # fmt: skip


BENCHMARKS = {
    "help": Benchmark(
        "--help of one command", lambda side: ["nnUNetv2_plan_experiment", "--help"], repeat=3
    ),
    "prepare": Benchmark(
        "hippocampus, 200 cases: fingerprint, plan, preprocess 3d_fullres",
        lambda side: ["nnUNetv2_plan_and_preprocess", "-d", "4", "-c", "3d_fullres", "-npfp", "2", "-np", "2"],
        make_hippocampus,
        remove(HIPPOCAMPUS),
    ),
    "large": Benchmark(
        "CT 300x512x512, 25 labels: preprocess to 1.5 mm",
        lambda side: ["nnUNetv2_preprocess", "-d", "925", "-plans_name", ISOTROPIC, "-c", "3d_fullres", "-np", "1"],
        make_large,
        remove_cases(LARGE, ISOTROPIC),
    ),
    "export": Benchmark(
        "25-class logits to labelmap 300x512x512, like a network's", export_words("network"), make_logits("network")
    ),
    "export-noise": Benchmark(
        "25-class logits to labelmap 300x512x512, pure noise", export_words("noise"), make_logits("noise")
    ),
    "predict": Benchmark(
        f"hippocampus, {PREDICTED_CASES} cases: predict 3d_fullres on the CPU", predict_words, make_model
    ),
    "evaluate": Benchmark(
        "hippocampus, 200 cases: evaluate (ours: surface distances besides)", evaluate_words, make_predictions
    ),
}  # fmt: skip


def our_side(work: Path, threads: int) -> Side:
    """This checkout, with the Python that runs the benchmark."""
    return Side("ours", Path(sys.executable), work / "ours", threads)


def peer_side(work: Path, threads: int) -> Side | None:
    """nnunetv2 in the environment that PEER_VENV names, or None."""
    folder = os.environ.get("PEER_VENV")
    if not folder:
        return None
    python = Path(folder).absolute() / "bin" / "python"
    if not python.exists():
        raise Missing(f"PEER_VENV={folder} has no bin/python")
    return Side("peer", python, work / "peer", threads)
