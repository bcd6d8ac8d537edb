"""Jobs in which a rank dies, stops or is interrupted."""

import pathlib
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import pytest
import torch.distributed as dist

HERE = pathlib.Path(__file__).parent
#: A census, a machine that is busy, and the end of processes.
SLACK_SECONDS = 20
TIMEOUT_SECONDS = 4


class Ended(NamedTuple):
    seconds: float
    outcome: str
    errors: str


class Job:
    def __init__(self, what: str, world_size: int, timeout: int = TIMEOUT_SECONDS) -> None:
        self.store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self.ranks = [
            subprocess.Popen(
                [
                    sys.executable,
                    HERE / "fault_rank.py",
                    what,
                    str(rank),
                    str(world_size),
                    str(self.store.port),
                    str(timeout),
                ],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={"PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"},
            )
            for rank in range(world_size)
        ]

    def end(self, rank: int) -> Ended:
        out, errors = self.ranks[rank].communicate(timeout=120)
        seconds, _, outcome = out.strip().splitlines()[-1].partition(" ")
        return Ended(float(seconds), outcome, errors)

    def __enter__(self) -> "Job":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.ranks:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("what", ["killed", "stopped"])
def test_a_lost_rank_is_the_same_error_on_all_others_in_time(what):
    with Job(what, 3) as job:
        first, second = job.end(0), job.end(1)
        assert first.outcome == second.outcome
        assert first.outcome.startswith("CommError")
        assert "rank 2 of 3 did not answer" in first.outcome
        assert max(first.seconds, second.seconds) < TIMEOUT_SECONDS + SLACK_SECONDS
        assert first.errors == second.errors == ""


def test_a_rank_that_works_for_long_is_waited_for_in_silence():
    with Job("waiting", 2) as job:
        for rank in (0, 1):
            ended = job.end(rank)
            assert ended.outcome == "done"
            assert ended.errors == ""


@pytest.mark.parametrize("who", [0, 1])
def test_ctrl_c_on_one_rank_ends_the_call_on_all(who):
    """On the rank that waits for the other, and on the one that is in its builder."""
    with Job("interrupted", 2) as job:
        assert job.ranks[1].stdout is not None
        # Some versions of torch print a line of Gloo's before it.
        assert "waits\n" in iter(job.ranks[1].stdout.readline, "")
        job.ranks[who].send_signal(signal.SIGINT)
        ended = job.end(who)
        assert ended.outcome == "KeyboardInterrupt"
        if who == 0:
            return  # the other one is in its builder, and hears of it at its end
        other = job.end(0)
        assert "was interrupted" in other.outcome
        assert other.seconds < TIMEOUT_SECONDS + SLACK_SECONDS


def test_ctrl_c_ends_the_wait_for_a_rank_that_has_not_called():
    with Job("late", 2, timeout=100) as job:
        for rank, line in enumerate(("calls\n", "waits\n")):
            assert line in iter(job.ranks[rank].stdout.readline, "")
        time.sleep(1)  # an earlier one would end the same, and show less
        job.ranks[0].send_signal(signal.SIGINT)
        ended = job.end(0)
        assert ended.outcome == "KeyboardInterrupt"
        assert ended.seconds < SLACK_SECONDS + 1
