"""What is shown while a call runs: bars on a terminal, lines elsewhere, or what the caller does."""

import fcntl
import logging
import os
import pathlib
import pty
import struct
import subprocess
import sys
import termios
import threading

import pytest

import fakescore
from fakescore.progress import shower
from support import Net, differences, seeded

SCRIPT = """
import sys
import torch
import fakescore
sys.path.insert(0, {tests!r})
from support import Net, seeded
build = Net if {replays} else lambda: torch.nn.Linear(4, 4)
teacher = seeded() if {replays} else torch.nn.Linear(4, 4)
fakescore.create_fake_score_meta(build, teacher{options})
"""
TESTS = str(pathlib.Path(__file__).parents[1])


def shown_on_a_terminal(*, replays=False, options=""):
    """What a process writes whose error output is a terminal."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    code = SCRIPT.format(tests=TESTS, replays=replays, options=options)
    with subprocess.Popen([sys.executable, "-c", code], stderr=its, stdout=subprocess.PIPE) as job:
        os.close(its)
        text = b""
        try:
            while part := os.read(ours, 4096):
                text += part
        except OSError:  # the other end is closed
            pass
        assert job.stdout is not None
        assert job.stdout.read() == b""
    os.close(ours)
    assert job.returncode == 0, text.decode()
    return text.decode()


@pytest.mark.parametrize(("replays", "phase"), [(False, "move"), (True, "replay")])
def test_a_terminal_shows_a_bar(replays, phase):
    """Of the last phase for sure: others may be too short to be seen."""
    text = shown_on_a_terminal(replays=replays)
    assert f"{phase}: 100%" in text
    assert text.endswith("\r\n")  # the cursor is below it


def test_a_bar_of_a_phase_that_is_over_is_full(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with shower(None, is_source=True) as shown:
        shown.show("", 0, 0)
        shown.show("move", 30, 100)
        shown.show("move", 60, 100)
        shown.show("replay", 5, 10)
    text = capsys.readouterr().err
    assert "move: 100%" in text
    assert "replay:  50%" in text


def test_a_terminal_shows_nothing_if_it_is_not_asked_to():
    assert shown_on_a_terminal(options=", progress=False") == ""


def test_elsewhere_there_are_lines(caplog):
    with caplog.at_level(logging.INFO, logger="fakescore"):
        fakescore.create_fake_score_meta(Net, seeded())
    lines = [record.getMessage() for record in caplog.records]
    assert lines[-1].startswith("replay: ")
    done, total = (int(word) for word in lines[-1].split() if word.isdigit())
    assert done == total > 0


def test_a_callable_hears_where_the_call_is():
    heard = []
    fakescore.create_fake_score_meta(Net, seeded(), progress=lambda *what: heard.append(what))
    phase, done, total = heard[-1]
    assert phase == "replay"
    assert done == total > 0
    assert all(phase in ("move", "replay") and done <= total for phase, done, total in heard)


def test_a_call_that_ends_at_once_is_shown(monkeypatch):
    start = threading.Thread.start

    def start_and_end(thread):
        start(thread)
        thread.join()

    monkeypatch.setattr("fakescore.calls._Call.start", start_and_end)
    heard = []
    fakescore.create_fake_score_meta(Net, seeded(), progress=lambda *what: heard.append(what))
    ((phase, done, total),) = heard
    assert phase == "replay"
    assert done == total > 0


def test_a_callable_that_raises_is_logged_and_left(caplog):
    calls = []

    def complain(*what):
        calls.append(what)
        raise ValueError("no screen")

    fake_score = fakescore.create_fake_score_meta(Net, seeded(), progress=complain)
    assert differences(fake_score, seeded()) == []
    assert len(calls) == 1
    (record,) = [record for record in caplog.records if record.exc_info]
    assert "not called again" in record.getMessage()
    assert "no screen" in str(record.exc_info[1])
