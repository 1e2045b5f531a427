"""Fetching weights, from a server on this computer that stands for the authors' one."""

from __future__ import annotations

import hashlib
import re
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from segautoconfiglib.base.cancel import CancelToken
from segautoconfiglib.base.errors import Cancelled, UserError
from segautoconfiglib.base.events import ListReporter
from segautoconfiglib.models.folder import ModelFolder
from segautoconfiglib.tasks.catalogue import Catalogue, find_task, load_catalogue
from segautoconfiglib.tasks.download import download_weights
from segautoconfiglib.tasks.weights import WeightsFolders
from task_weights import make_task_weights, no_checkpoint

BODY, TOTAL = find_task("body").mode(fast=True).parts, find_task("total").mode(fastest=True).parts
NAME, OTHER = "Dataset300_body_6mm_1559subj", "Dataset298_TotalSegmentator_total_6mm_1559subj"


class Server:
    """What is published, and what was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.names_versions = True
        self.range_begins: int | None = None
        self.breaks_off_at: int | None = None
        self.address = ""
        self.holds_back = threading.Event()  # until it is set
        self.holds_back.set()

    def catalogue(self) -> Catalogue:
        return load_catalogue().model_copy(update={"address": self.address})


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that ends with the test."""
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name, part = self.path.rpartition("/")[2], self.headers.get("Range")
            state.requests.append((name, part))
            state.holds_back.wait(20)
            if name not in state.files:
                self.send_error(404)
                return
            content = state.files[name]
            tag = f'"{digest(content)[:8]}"'
            if self.headers.get("If-Range") not in (None, tag):
                part = None
            start = int(part.removeprefix("bytes=").removesuffix("-")) if part else 0
            if start >= len(content):
                self.send_error(416)
                return
            start = state.range_begins if part and state.range_begins is not None else start
            self.send_response(206 if part else 200)
            if part:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            if state.names_versions:
                self.send_header("ETag", tag)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start : state.breaks_off_at])

        def log_message(self, *words: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        state.address = f"http://127.0.0.1:{running.server_address[1]}"
        yield state
        running.shutdown()
        thread.join()


def published(folder: Path, task: str, mode: Any, seed: bytes = b"1") -> bytes:
    """A zip file as it is published."""
    made = make_task_weights(folder / "source", task, mode, real=False)
    for model in made:
        (model / "fold_0" / "checkpoint_final.pth").write_bytes(no_checkpoint(seed * 100_000))
    file = folder / "source.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for model in made:
            for path in sorted(model.rglob("*.*")):
                archive.write(path, path.relative_to(folder / "source"))
    return file.read_bytes()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def everything(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def body(server: Server, tmp_path: Path) -> bytes:
    """The published file of the body's models at 6 mm."""
    server.files[f"{NAME}.zip"] = content = published(tmp_path / "body", "body", "fast")
    return content


def test_weights_come_with_licence_and_checksum(server: Server, body: bytes, tmp_path: Path) -> None:
    target, report = tmp_path / "not" / "there", ListReporter()
    (model,) = download_weights(BODY, target, catalogue=server.catalogue(), report=report)
    assert model.path == target / NAME / BODY[0].model_name
    assert (target / f"{NAME}.zip.sha256").read_text() == f"{digest(body)}  {NAME}.zip\n"
    assert sorted(entry.name for entry in target.iterdir()) == [NAME, f"{NAME}.zip.sha256"]
    said = [event["message"] for event in report.of("log")]
    assert any("Apache License 2.0" in text for text in said)
    assert any(digest(body) in text for text in said)
    assert report.of("artifact")[0]["path"] == str(model.path)
    assert server.requests == [(f"{NAME}.zip", None)]
    assert download_weights(BODY, target, catalogue=server.catalogue(), report=report) == []
    assert len(server.requests) == 1, "they are there"


def test_what_is_there_is_compared_and_replaced(server: Server, body: bytes, tmp_path: Path) -> None:
    target, catalogue = tmp_path / "weights", server.catalogue()
    download_weights(BODY, target, catalogue=catalogue)
    before = everything(target)
    server.files[f"{NAME}.zip"] = new = published(tmp_path / "new", "body", "fast", b"2")
    with pytest.raises(UserError, match=f"SHA-256 {digest(new)} instead of {digest(body)}, of the earlier") as error:
        download_weights(BODY, target, overwrite=True, catalogue=catalogue)
    assert error.value.action == "checksum"
    assert everything(target) == before
    download_weights(BODY, target, overwrite=True, sha256={300: digest(new).upper()}, catalogue=catalogue)
    assert (target / f"{NAME}.zip.sha256").read_text().startswith(digest(new))
    assert (target / NAME / BODY[0].model_name / "fold_0" / "checkpoint_final.pth").read_bytes() == no_checkpoint(
        b"2" * 100_000
    )


@pytest.mark.parametrize("source", ["given", "published"])
def test_a_wrong_checksum_leaves_nothing(server: Server, body: bytes, tmp_path: Path, source: str) -> None:
    catalogue, wrong = server.catalogue(), "0" * 64
    if source == "published":
        datasets = {300: catalogue.datasets[300].model_copy(update={"sha256": wrong})}
        catalogue = catalogue.model_copy(update={"datasets": datasets})
    given = {300: wrong} if source == "given" else None
    with pytest.raises(UserError, match=rf"wrong checksum: .* instead of {wrong}, as {source}"):
        download_weights(BODY, tmp_path / "a" / "weights", sha256=given, catalogue=catalogue)
    assert not (tmp_path / "a").exists()


def test_a_download_goes_on_where_it_broke_off(server: Server, body: bytes, tmp_path: Path) -> None:
    target, catalogue = tmp_path / "weights", server.catalogue()
    server.breaks_off_at = 40_000
    with pytest.raises(UserError, match=f"broke off after 40000 of {len(body)} bytes"):
        download_weights(BODY, target, catalogue=catalogue)
    assert not (target / NAME).exists()
    server.breaks_off_at = None
    (model,) = download_weights(BODY, target, catalogue=catalogue)
    assert server.requests == [(f"{NAME}.zip", None), (f"{NAME}.zip", "bytes=40000-")]
    assert (model.path / "fold_0" / "checkpoint_final.pth").read_bytes() == no_checkpoint(b"1" * 100_000)
    assert sorted(entry.name for entry in target.iterdir()) == [NAME, f"{NAME}.zip.sha256"]


@pytest.mark.parametrize("case", ["replaced", "replaced, unknown", "other start"])
def test_parts_of_different_files_are_not_mixed(server: Server, body: bytes, tmp_path: Path, case: str) -> None:
    target, catalogue, (name, _) = tmp_path / "weights", server.catalogue(), (f"{NAME}.zip", None)
    server.breaks_off_at, server.names_versions = 40_000, case != "replaced, unknown"
    with pytest.raises(UserError, match="broke off after 40000"):
        download_weights(BODY, target, catalogue=catalogue)
    server.breaks_off_at = None
    if case.startswith("replaced"):
        server.files[name] = published(tmp_path / "new", "body", "fast", b"2")
    else:
        server.range_begins = 39_000
    (model,) = download_weights(BODY, target, catalogue=catalogue)
    expected = b"2" if case.startswith("replaced") else b"1"
    assert (model.path / "fold_0" / "checkpoint_final.pth").read_bytes() == no_checkpoint(expected * 100_000)
    parts = {"replaced": ["bytes=40000-"], "replaced, unknown": [None], "other start": ["bytes=40000-", None]}
    assert [part for _, part in server.requests[1:]] == parts[case]
    assert sorted(entry.name for entry in target.iterdir()) == [NAME, f"{NAME}.zip.sha256"]


def test_what_came_whole_but_was_not_used_comes_again(server: Server, body: bytes, tmp_path: Path) -> None:
    target = tmp_path / "weights"
    (target / ".downloading").mkdir(parents=True)
    (target / ".downloading" / f"{NAME}.zip").write_bytes(body)
    (target / ".downloading" / f"{NAME}.zip.version").write_text(f'"{digest(body)[:8]}"')
    assert download_weights(BODY, target, catalogue=server.catalogue())
    assert [part for _, part in server.requests] == [f"bytes={len(body)}-", None]
    assert not (target / ".downloading").exists()


def test_finished_datasets_are_kept(server: Server, body: bytes, tmp_path: Path) -> None:
    target, catalogue = tmp_path / "weights", server.catalogue()
    with pytest.raises(UserError, match=f"{OTHER}.zip answers 404"):
        download_weights([*BODY, *TOTAL], target, catalogue=catalogue)
    assert (target / NAME / BODY[0].model_name).is_dir()
    server.files[f"{OTHER}.zip"] = published(tmp_path / "total", "total", "fastest")
    assert [model.dataset for model in download_weights([*BODY, *TOTAL], target, catalogue=catalogue)] == [OTHER]


@pytest.mark.parametrize(
    ("task", "mode", "says"),
    [
        ("total", "fastest", rf"holds {OTHER}/.*; dataset 300 lacks nnUNetTrainer__nnUNetPlans__3d_fullres\. Nothing"),
        (None, None, "no zip file"),
    ],
)
def test_another_file_is_refused(server: Server, tmp_path: Path, task: str | None, mode: Any, says: str) -> None:
    server.files[f"{NAME}.zip"] = published(tmp_path / "x", task, mode) if task else b"<html>"
    with pytest.raises(UserError, match=says):
        download_weights(BODY, tmp_path / "weights", catalogue=server.catalogue())
    assert not (tmp_path / "weights").exists()


def test_weights_of_another_task_under_this_name_are_refused(server: Server, body: bytes, tmp_path: Path) -> None:
    model = make_task_weights(tmp_path / "x", "body", "fast", real=False)[0]
    description = model / "dataset.json"
    description.write_text(description.read_text().replace('"body_extremities": 2', '"b": 2, "c": 3'))
    (model / "plans.json").write_text((model / "plans.json").read_text().replace(NAME, "Dataset007_Other"))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for path in sorted(model.rglob("*.*")):
            archive.write(path, path.relative_to(tmp_path / "x"))
    server.files[f"{NAME}.zip"] = (tmp_path / "x.zip").read_bytes()
    with pytest.raises(UserError, match="weights of another task: it has 3 labels, the task 2"):
        download_weights(BODY, tmp_path / "weights", catalogue=server.catalogue())
    assert not (tmp_path / "weights").exists()


def test_a_file_without_the_wanted_plans_is_refused(server: Server, tmp_path: Path) -> None:
    task, name = find_task("total_v3"), "Dataset837_TotalSegmentator_total_6mm_1559subj"
    server.files[f"{name}.zip"] = published(tmp_path / "big", "total_v3", "fastest")
    small, target, catalogue = task.mode(fastest=True, small=True).parts, tmp_path / "weights", server.catalogue()
    with pytest.raises(UserError, match=r"dataset 837 lacks .*__nnUNetResEncUNetLPlans_8__3d_fullres"):
        download_weights(small, target, catalogue=catalogue)
    assert not target.exists()
    assert download_weights(task.mode(fastest=True).parts, target, catalogue=catalogue)
    before = everything(target)
    with pytest.raises(UserError, match=r"lacks .*LPlans_8"):
        download_weights(small, target, catalogue=catalogue)
    assert everything(target) == before


def test_what_does_not_fit_is_replaced(server: Server, body: bytes, tmp_path: Path) -> None:
    target = tmp_path / "weights"
    (damaged,) = make_task_weights(target, "body", "fast", real=False)
    (damaged / "plans.json").write_text("{")
    (model,) = download_weights(BODY, target, catalogue=server.catalogue())
    assert model.path == damaged
    assert (damaged / "fold_0" / "checkpoint_final.pth").read_bytes() == no_checkpoint(b"1" * 100_000)
    (damaged / "fold_0").rename(damaged / "fold_1")
    assert download_weights(BODY, target, catalogue=server.catalogue()), "another fold is not the one that is used"
    assert WeightsFolders((target,)).missing(BODY) == []


def test_a_checkpoint_that_was_cut_off_is_fetched_again(server: Server, body: bytes, tmp_path: Path) -> None:
    target, catalogue = tmp_path / "weights", server.catalogue()
    (model,) = download_weights(BODY, target, catalogue=catalogue)
    file = model.path / "fold_0" / "checkpoint_final.pth"
    file.write_bytes(file.read_bytes()[:50_000])
    assert download_weights(BODY, target, catalogue=catalogue)
    assert file.read_bytes() == no_checkpoint(b"1" * 100_000)


def test_of_two_downloads_at_once_one_fetches(server: Server, body: bytes, tmp_path: Path) -> None:
    target, catalogue, reports = tmp_path / "weights", server.catalogue(), [ListReporter(), ListReporter()]
    server.holds_back.clear()
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(download_weights, BODY, target, catalogue=catalogue, report=report) for report in reports]
        until = time.monotonic() + 20
        while not any("waiting" in event["message"] for report in reports for event in report.of("log")):
            assert time.monotonic() < until
            time.sleep(0.01)
        server.holds_back.set()
        made = [run.result() for run in runs]
    assert sorted(map(len, made)) == [0, 1]
    assert server.requests == [(f"{NAME}.zip", None)]
    assert any("has come meanwhile" in event["message"] for report in reports for event in report.of("log"))
    assert sorted(entry.name for entry in target.iterdir()) == [NAME, f"{NAME}.zip.sha256"]
    download_weights(BODY, target, overwrite=True, catalogue=catalogue)
    assert len(server.requests) == 2


def test_what_the_check_refuses_is_not_kept(server: Server, body: bytes, tmp_path: Path) -> None:
    def refuse(model: ModelFolder) -> None:
        raise UserError(f"{model.path.name} would run code.")

    with pytest.raises(UserError, match="would run code"):
        download_weights(BODY, tmp_path / "weights", check=refuse, catalogue=server.catalogue())
    assert not (tmp_path / "weights").exists()


def test_weights_with_a_licence_key_are_never_asked_for(server: Server, tmp_path: Path) -> None:
    parts = [*BODY, *find_task("face").mode().parts]
    with pytest.raises(UserError, match="need a licence key and are not fetched: Dataset303_face_1559subj") as error:
        download_weights(parts, tmp_path / "weights", catalogue=server.catalogue())
    assert "totalseg_import_weights" in error.value.hint
    assert server.requests == []
    assert not (tmp_path / "weights").exists()


def test_a_proxy_that_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as proxy:  # knows no CONNECT
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.server_address[1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        with pytest.raises(UserError, match="Tunnel connection failed") as error:
            download_weights(BODY, tmp_path / "weights", catalogue=load_catalogue())
        proxy.shutdown()
    assert "https_proxy=http://USER:PASSWORD@HOST:PORT" in error.value.hint
    assert "totalseg_import_weights -i FILE.zip" in error.value.hint


def test_without_a_network(tmp_path: Path) -> None:
    catalogue = load_catalogue().model_copy(update={"address": "http://127.0.0.1:1"})
    address = re.escape(f"http://127.0.0.1:1/v2.0.0-weights/{NAME}.zip")
    with pytest.raises(UserError, match=rf"{address} can't be downloaded: .*refused.*the connection"):
        download_weights(BODY, tmp_path / "weights", catalogue=catalogue)
    assert not (tmp_path / "weights").exists()


def test_a_stop_keeps_what_was_there(server: Server, body: bytes, tmp_path: Path) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        download_weights(BODY, tmp_path / "weights", catalogue=server.catalogue(), cancel=cancel)
    assert not (tmp_path / "weights" / NAME).exists()
