"""Which files each host sees under the teacher's path: who then reads, why, and what is sent."""

import contextlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable
from typing import NamedTuple

import pytest
from safetensors.torch import load_file, save_file

from hosts import MODEL_BYTES, expect_on_link, outcomes, start

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def folder(teacher: str, tmp_path: pathlib.Path) -> pathlib.Path:
    """The teacher in two shards, as the first host sees it."""
    made = tmp_path / "folder"
    made.mkdir()
    tensors = load_file(teacher)
    of_shard = {name: SHARDS[int(name.split(".")[0]) // 4] for name in tensors}
    for shard in SHARDS:
        chosen = {name: tensor for name, tensor in tensors.items() if of_shard[name] == shard}
        save_file(chosen, str(made / shard))
    index = {"metadata": {"total_size": MODEL_BYTES}, "weight_map": of_shard}
    (made / "model.safetensors.index.json").write_text(json.dumps(index))
    return made


def empty(view: pathlib.Path) -> None:
    shutil.rmtree(view)
    view.mkdir()


def without_a_shard(view: pathlib.Path) -> None:
    (view / SHARDS[1]).unlink()


def of_another_time(view: pathlib.Path) -> None:
    modified = (view / SHARDS[1]).stat().st_mtime_ns
    os.utime(view / SHARDS[1], ns=(modified, modified + 1_000_000_000))


def of_another_size(view: pathlib.Path) -> None:
    tensors = load_file(view / SHARDS[1])
    save_file(tensors, view / SHARDS[1], metadata={"saved": "again, with a longer header"})


class View(NamedTuple):
    name: str
    #: Makes it of a copy of the first host's folder; None: the second host sees that folder itself.
    change: Callable[[pathlib.Path], None] | None
    read: str
    reason: str  #: what is in it; none if empty
    job: str = "whole"


VIEWS = [
    View("shared", None, "turns", ""),
    View("a copy", lambda view: None, "turns", ""),
    View("another size", of_another_size, "root", f"{SHARDS[1]}: its size differs"),
    View("another time", of_another_time, "root", f"{SHARDS[1]}: its modification time differs"),
    View("a shard less", without_a_shard, "root", f"1 cannot be reached: {SHARDS[1]}"),
    View("a shard less, rows", without_a_shard, "root", f"be reached: {SHARDS[1]}", "rows"),
    View("private", empty, "root", "folder holds no .safetensors"),
]


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_who_reads_and_why(hosts, folder, tmp_path, view):
    with contextlib.ExitStack() as views:
        if view.change is not None:
            other = tmp_path / "other"
            shutil.copytree(folder, other)  # with the files' modification times
            view.change(other)
            views.enter_context(hosts[1].seeing(other, at=folder))
        ranks = start(hosts, view.job, [str(folder), str(folder)])
    found = outcomes(ranks)
    parts_read = (1 / 2, 1 / 2) if view.read == "turns" else (1, 0)
    parts_sent = (1 / 2, 0) if view.job == "rows" else parts_read
    for part, outcome in zip(parts_sent, found, strict=True):
        assert outcome.get("right"), outcome
        assert outcome["read"] == view.read, outcome
        assert outcome["reason"].startswith("rank 1 ") == bool(view.reason), outcome
        assert view.reason in outcome["reason"], outcome
        assert outcome["read_bytes"] == [part * MODEL_BYTES for part in parts_read], outcome
        expect_on_link(part * MODEL_BYTES, outcome["sent"], outcome["resent"], outcome)
