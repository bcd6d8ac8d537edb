"""What crosses the link of several hosts, as the kernel counts it, and a link that is cut."""

import time
from typing import NamedTuple

import pytest

from hosts import MESSAGES, MODEL_BYTES, SLACK, outcomes, start

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


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.job}-{case.read}")
def test_each_byte_is_read_once_and_crosses_the_link_no_more_than_once(hosts, teacher, case):
    teachers = [teacher, teacher if case.is_shared else ELSEWHERE]
    found = outcomes(start(hosts, case.job, teachers))
    for host, outcome in enumerate(found):
        assert outcome.get("right"), outcome
        assert outcome["read"] == case.read, outcome
        expected = case.sent[host] * MODEL_BYTES
        assert expected <= outcome["sent"] <= SLACK * expected + MESSAGES, (host, outcome)
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
    for rank, outcome in enumerate(found):
        assert outcome.get("right"), outcome
        assert outcome["read"] == ("turns" if is_shared else "root"), outcome
        sent = 1 / 2 if is_shared else 1 - rank // 2
        assert sent * MODEL_BYTES <= outcome["sent"] <= SLACK * sent * MODEL_BYTES + MESSAGES, rank
    if is_shared:
        assert found[0]["reason"] == "ranks of several hosts keep the same parts"
        assert found[0]["read_bytes"] == [MODEL_BYTES // 4] * 4
    else:
        assert found[0]["read_bytes"] == [MODEL_BYTES, 0, 0, 0]


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
