"""`python -m fakescore`, alone and under torchrun."""

import json
import os
import subprocess
import sys

import diffusers
import pytest
import torch

from support import MODELS, differences

WAN = str(MODELS / "wan_sharded")
PROGRAM = [sys.executable, "-m", "fakescore"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def run(*arguments, ranks=1):
    command = [*PROGRAM, *arguments]
    if ranks == 2:
        command = [*TORCHRUN, "-m", "fakescore", *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.parametrize("ranks", [1, 2])
def test_run_fills_verifies_reports_and_saves(tmp_path, ranks):
    report, output = tmp_path / "report.json", tmp_path / "output"
    ended = run("run", WAN, "--json", str(report), "--output", str(output), ranks=ranks)
    assert ended.returncode == 0, ended.stderr
    assert "fake score  WanTransformer3DModel" in ended.stdout
    assert ended.stdout.count("fake score") == 1
    assert "the same on every rank" in ended.stdout
    written = json.loads(report.read_text())
    assert written["world_size"] == ranks
    assert written["missing"] == written["unexpected"] == []
    load = diffusers.WanTransformer3DModel.from_pretrained
    assert differences(load(output), load(WAN)) == []


def test_plan_says_which_host_reads_and_how_long_it_takes(tmp_path):
    report = tmp_path / "plan.json"
    figures = tmp_path / "figures.json"
    rates = {"rank": 1e9, "host": 1e9}
    figures.write_text(
        json.dumps(
            {
                "backend": "process group over store",
                **dict.fromkeys(("copy", "first_write", "message"), rates),
                "link": 1e3,
                "control_seconds": 1e-6,
            }
        )
    )
    shape = ["--hosts", "2", "--ranks-per-host", "2", "--ranks-per-copy", "2"]
    ended = run("plan", WAN, *shape, "--figures", str(figures), "--json", str(report))
    assert ended.returncode == 0, ended.stderr
    assert "traffic     read by turns" in ended.stdout
    assert "bottleneck: link" in ended.stdout
    shared, root = json.loads(report.read_text())["forecasts"]
    assert (shared["read"], root["read"]) == ("turns", "root")
    sent = sum(host["sent"] * (1 + host["last"] - host["first"]) for host in shared["hosts"])
    received = sum(
        host["received"] * (1 + host["last"] - host["first"]) for host in shared["hosts"]
    )
    assert sent == received > 0
    assert shared["from_page_cache"]["bottleneck"].startswith("link")
    assert shared["from_disk"] is None


def test_plan_reads_no_weights_and_says_what_would_be_done(tmp_path):
    report = tmp_path / "plan.json"
    ended = run("plan", WAN, "--ranks", "64", "--json", str(report), "--dtype", "bfloat16")
    assert ended.returncode == 0, ended.stderr
    assert "ranks       64" in ended.stdout
    plan = json.loads(report.read_text())
    assert plan["world_size"] == 64
    assert plan["taken"].endswith("diffusion_pytorch_model.safetensors.index.json")
    assert {"rope.freqs_cos", "rope.freqs_sin"} <= set(plan["replayed"])
    assert plan["missing"] == []
    assert plan["storage_bytes"] > 0


def test_inspect_lists_tensors_by_their_new_names():
    ended = run("inspect", WAN, "--map", r"^blocks\.(\d+)\.=layers.$1.")
    assert ended.returncode == 0, ended.stderr
    assert "layers.0." in ended.stdout and "blocks.0." not in ended.stdout
    assert ended.stdout.splitlines()[-1].endswith(" tensors")


def test_a_class_of_ones_own(tmp_path):
    torch.save(torch.nn.Linear(2, 3).state_dict(), tmp_path / "layer.pt")
    (tmp_path / "layers.py").write_text(
        "import torch\nclass Layer(torch.nn.Linear):\n"
        "    def __init__(self): super().__init__(2, 3)\n"
    )
    os.environ["PYTHONPATH"] = str(tmp_path)
    try:
        ended = run("run", str(tmp_path / "layer.pt"), "--class", "layers:Layer")
    finally:
        del os.environ["PYTHONPATH"]
    assert ended.returncode == 0, ended.stderr
    assert "fake score  Layer" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["run", "/no/such/folder"], 2, "config.json"),
        (["run", "/no/such/folder", "--config", WAN], 3, "/no/such/folder"),
        (["run", WAN, "--class", "diffusers:NoSuchModel"], 2, "NoSuchModel"),
        (["run", WAN, "--map", "x"], 2, "write FROM=TO"),
        (["run", WAN, "--strip-prefix", "model."], 3, "they begin with"),
        (["run", WAN, "--dtype-rule", "norm=int8"], 2, "int8"),
        (["plan", WAN, "--map", "^blocks=x"], 3, "unexpected"),
        (["plan", WAN, "--hosts", "2"], 2, "both --hosts and --ranks-per-host"),
        (["plan", WAN, "--ranks", "4", "--ranks-per-copy", "3"], 2, "do not divide 4 ranks"),
        (["plan", WAN, "--figures", "/no/such/file"], 2, "/no/such/file"),
        (["inspect", WAN + "/config.json"], 3, "config.json"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(arguments, code, text):
    ended = run(*arguments)
    assert ended.returncode == code, ended.stderr
    lines = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and text in lines[0]
