"""What crosses the link of several hosts, as the kernel counts it, and a link that is cut."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from hosts import MODEL_BYTES, WIDTH, expect_on_link, outcomes, start

ELSEWHERE = "/nonexistent/teacher.safetensors"


class Case(NamedTuple):
    job: str
    is_shared: bool  #: whether all hosts see the files
    read: str
    sent: tuple[float, float]  #: by each host, in parts of the model


CASES = [
    Case("whole", True, "turns", (1 / 2, 1 / 2)),
    Case("whole", False, "root", (1, 0)),
    Case("rows", True, "all", (0, 0)),
    Case("rows", False, "root", (1 / 2, 0)),
    Case("live", True, "all", (1 / 4, 1 / 4)),
]


def expect_sent(found: list[dict[str, Any]], read: str, sent: Sequence[float]) -> None:
    """`sent`: by host, which the report has and the kernel counts, heads and messages beside."""
    ranks_per_host = len(found) // len(sent)
    for rank, outcome in enumerate(found):
        expected = sent[rank // ranks_per_host]
        assert outcome.get("right"), outcome
        assert outcome["read"] == read, outcome
        assert outcome["link_sent_bytes"] == list(sent), outcome
        expect_on_link(expected, outcome["sent"], outcome["resent"], (rank, outcome))


def expect_shared_or_sent_by_the_root(found: list[dict[str, Any]], is_shared: bool) -> None:
    """The first host's root has all, or each host reads a half."""
    if is_shared:
        expect_sent(found, "turns", [MODEL_BYTES / 2, MODEL_BYTES / 2])
    else:
        expect_sent(found, "root", [MODEL_BYTES, 0])


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.job}-{case.read}")
def test_each_byte_is_read_once_and_crosses_the_link_no_more_than_once(hosts, teacher, case):
    teachers = [teacher, teacher if case.is_shared else ELSEWHERE]
    found = outcomes(start(hosts, case.job, teachers))
    expect_sent(found, case.read, [part * MODEL_BYTES for part in case.sent])
    read_bytes = found[0]["read_bytes"]
    if case.job == "live":
        assert read_bytes == [0, 0]
    elif case.read == "root":
        assert read_bytes == [MODEL_BYTES, 0]
    else:
        assert read_bytes == [MODEL_BYTES // 2, MODEL_BYTES // 2]


@pytest.mark.parametrize("is_shared", [True, False])
def test_replicas_on_several_hosts_read_each_byte_once(hosts, teacher, is_shared):
    """HSDP: each host has all rows, each of its ranks one half of them."""
    teachers = [teacher, teacher if is_shared else ELSEWHERE]
    found = outcomes(start(hosts, "hsdp", teachers, ranks_per_host=2))
    expect_shared_or_sent_by_the_root(found, is_shared)
    if is_shared:
        assert found[0]["reason"] == "ranks of several hosts keep the same parts"
        assert found[0]["read_bytes"] == [MODEL_BYTES // 4] * 4
    else:
        assert found[0]["read_bytes"] == [MODEL_BYTES, 0, 0, 0]


@pytest.mark.parametrize("is_shared", [True, False])
def test_whole_tensors_come_to_each_host_once(hosts, teacher, is_shared):
    """With several ranks a host Gloo's own broadcasts would bring them there twice."""
    teachers = [teacher, teacher if is_shared else ELSEWHERE]
    found = outcomes(start(hosts, "whole", teachers, ranks_per_host=2))
    expect_shared_or_sent_by_the_root(found, is_shared)


#: Of host_rank.Mixed: two weights, one that is cast, and a buffer that is computed.
PLAIN_BYTES = (6 * WIDTH * WIDTH + 64 * WIDTH) * 4
CAST_BYTES = 64 * WIDTH * 4
BUFFER_BYTES = 3 * WIDTH * 4


@pytest.mark.parametrize("source", [0, 3])
def test_what_is_large_comes_to_each_host_once_and_what_is_not_by_broadcasts(hosts, source):
    found = outcomes(start(hosts, f"mixed from {source}", ["", ""], ranks_per_host=2))
    broadcast = CAST_BYTES // 2 + BUFFER_BYTES  # up to twice, by Gloo's tree
    sent = [PLAIN_BYTES + 2 * broadcast, broadcast if source else 0]
    expect_sent(found, "root", sent if source < 2 else sent[::-1])


@pytest.mark.parametrize("source", [0, 3])
def test_what_is_made_equal_comes_to_each_host_once(hosts, source):
    found = outcomes(start(hosts, f"sync from {source}", ["", ""], ranks_per_host=2))
    for rank, outcome in enumerate(found):
        assert outcome.get("right"), outcome
        sent = PLAIN_BYTES + CAST_BYTES + BUFFER_BYTES if rank // 2 == source // 2 else 0
        expect_on_link(sent, outcome["sent"], outcome["resent"], (rank, outcome))


@pytest.mark.parametrize(("job", "is_shared"), [("whole", True), ("whole", False), ("live", True)])
def test_a_host_that_is_cut_off_is_an_error_on_both_sides(hosts, teacher, tmp_path, job, is_shared):
    started = tmp_path / "started"
    teachers = [teacher, teacher if is_shared else ELSEWHERE]
    for host in hosts:
        host.slow_down()
    ranks = start(hosts, job, teachers, str(started))
    try:
        deadline = time.monotonic() + 60
        while not started.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert started.exists(), "the job has not begun to move bytes"
        assert all(rank.poll() is None for rank in ranks)
        hosts[1].cut_off()
        found = outcomes(ranks)
    finally:
        for rank in ranks:
            rank.kill()
    lost = ("rank 1 of 2 did not answer", "the store: cannot be reached")
    for (rank, outcome), text in zip(enumerate(found), lost, strict=True):
        assert outcome.get("error", "").startswith("CommError"), (rank, outcome)
        assert text in outcome["error"], (rank, outcome)
        assert outcome["seconds"] < 60, (rank, outcome)
