"""The package itself: its import, its types, and what it leaves alone."""

import ast
import inspect
import pathlib
import subprocess
import sys
import threading
import time

import pytest
import torch

import fakescore
from fakescore import _native, calls
from support import MODELS as FOLDER_OF_MODELS

FOLDER = pathlib.Path(fakescore.__file__).parent


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )


def test_another_torch_is_an_import_error_with_the_line_to_run():
    ended = run_python("import torch; torch.__version__ = '2.99.0'; import fakescore")
    assert ended.returncode != 0
    assert "ImportError: fakescore 0.1.0 was built for torch " in ended.stderr
    assert "this is torch 2.99.0" in ended.stderr
    assert "pip install --no-build-isolation" in ended.stderr


def test_an_import_prints_nothing_and_needs_no_mpi():
    ended = run_python(
        "import fakescore\n"
        "maps = open('/proc/self/maps').read()\n"
        "libraries = {line.split()[-1] for line in maps.splitlines() if '.so' in line}\n"
        "ours = sorted(l for l in libraries if 'libfakescore.so' in l)\n"
        "assert len(ours) == 1, ours\n"
        "assert not any('libmpi' in l for l in libraries)\n"
        "nccl = [l for l in libraries if 'libnccl.so' in l]\n"
        "assert len(nccl) <= 1, nccl\n"
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize("first", ["pass", "import diffusers"])
def test_a_builder_may_be_the_first_to_import_a_library(first):
    folder = FOLDER_OF_MODELS / "unet2d"
    ended = run_python(
        f"{first}\n"
        "import fakescore\n"
        "def build():\n"
        "    import diffusers\n"
        f"    return diffusers.UNet2DModel.from_pretrained({str(folder)!r})\n"
        "fake_score = fakescore.create_fake_score_meta(build, strict=True)\n"
        "assert fakescore.last_report().missing == ()\n"
        "import diffusers\n"
        f"expected = diffusers.UNet2DModel.from_pretrained({str(folder)!r})\n"
        "for name, value in expected.state_dict().items():\n"
        "    assert value.equal(fake_score.state_dict()[name]), name\n"
    )
    assert ended.returncode == 0, ended.stderr


def test_calls_release_the_gil():
    """Another thread goes on while a call moves and digests 160 MB."""
    counted = 0
    done = threading.Event()

    def count() -> None:
        nonlocal counted
        while not done.is_set():
            counted += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count, daemon=True)  # a failure ends the process as well
    thread.start()
    target = _native.classes.Target()
    names = [str(i) for i in range(20)]
    big = {name: torch.ones(2_000_000) for name in names}
    communicator = _native.classes.Communicator()
    _native.value_of(communicator.make_local(1000))
    teacher = _native.classes.Teacher()
    _native.value_of(teacher.set_state_dict(names, list(big.values()), [], [], [], []))
    tensors = [torch.empty(2_000_000, device="meta") for _ in names]
    _native.value_of(target.set_tensors(names, tensors, [0] * len(names), False))
    before = counted
    options = calls.options_json(root=0, read="auto", device="cpu", strict=True, verify=True)
    _native.value_of(communicator.fill(target, teacher, options))
    during = counted - before
    done.set()
    thread.join()
    assert during > 1


def test_every_call_says_whether_it_is_collective():
    for name in ("create_fake_score", "create_fake_score_meta", "materialize", "meta_init"):
        assert "ollective" in (inspect.getdoc(getattr(fakescore, name)) or ""), name
    assert "ollective" in (inspect.getdoc(fakescore.sync_module_states) or "")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_nothing_is_printed_and_modules_say_what_they_are(path):
    tree = ast.parse(path.read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    printed = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]
    assert not printed or path.name == "__main__.py"
    assert path.name == "_build.py" or ast.get_docstring(tree)
