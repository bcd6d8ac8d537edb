#!/usr/bin/env python3
"""Checks the rules of the tree that a compiler does not.

Layers: core < comm < sync < factory, core < models; a file includes its own layer or a lower one,
by its path from include/ or src/, so that the layer can be seen, and nothing of the launcher.
Public headers include no vendor header. Source files stay within a number of lines.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
ALLOWED = {
    "core": {"core"},
    "comm": {"core", "comm"},
    "sync": {"core", "comm", "sync"},
    "factory": {"core", "comm", "sync", "factory"},
    "models": {"core", "models"},
}
VENDOR = re.compile(r"mpi\.h|nccl\.h|cuda_runtime\.h")
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.M)
TOP_HEADERS = {"fakescore/export.hpp"}
MAX_LINES = 400
MAX_TEST_LINES = 600  # a table of cases is one idea, however long


def layer_of_include(name):
    parts = pathlib.PurePosixPath(name.removeprefix("fakescore/")).parts
    return parts[0] if len(parts) > 1 and parts[0] in ALLOWED else None


def problems(path):
    relative = path.relative_to(ROOT)
    text = path.read_text()
    lines = text.count("\n")
    limit = MAX_TEST_LINES if relative.parts[0] == "tests" else MAX_LINES
    if lines > limit:
        yield f"{relative}: {lines} lines, more than {limit}"
    is_public = relative.parts[0] == "include"
    layer = relative.parts[2 if is_public else 1] if relative.parts[0] in ("include", "src") else None
    for bracket, name in INCLUDE.findall(text):
        if ".." in pathlib.PurePosixPath(name).parts:
            yield f"{relative}: includes {name}: name it by its path from include/ or src/"
            continue
        if is_public and VENDOR.search(name) and not path.name.startswith("adopt_"):
            yield f"{relative}: a public header includes {name}"
        target = layer_of_include(name)
        own = bracket == '"' or name.startswith("fakescore/")
        if layer in ALLOWED and own and not target and name not in TOP_HEADERS:
            yield f"{relative}: layer {layer} includes {name}, which is of no layer"
        if layer in ALLOWED and target and target not in ALLOWED[layer]:
            yield f"{relative}: layer {layer} includes {name} of layer {target}"


def main():
    found = []
    for folder in ("include", "src", "launcher", "tests", "examples", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".hpp", ".cpp"):
                found += problems(path)
    for line in found:
        print(line)
    print(f"check_layers: {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
