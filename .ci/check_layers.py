#!/usr/bin/env python3
"""Checks the rules of the tree that a compiler does not.

Layers: error < {file, tensor} < {meta, teacher, comm} < transfer < fill < module < models. A file includes its own layer or one below, by its path from
include/ or src/, so that the layer can be seen, and nothing of the launcher. Only module and models
see torch::nn. Public headers include no vendor header. Source files stay within a number of lines.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# What is directly below each layer; what is below that counts as well.
BELOW = {
    "error": [],
    "file": ["error"],
    "tensor": ["error"],
    "meta": ["tensor"],
    "teacher": ["file", "tensor"],
    "comm": ["tensor"],
    "transfer": ["teacher", "comm"],
    "fill": ["meta", "transfer"],
    "module": ["fill"],
    "models": ["module"],
}
# Folders of a layer in an order: none includes one that comes after it.
FOLDERS = {"teacher": ["file", "formats", "source"]}
SEES_MODULES = {"module", "models"}
MODULES = re.compile(r"torch/(nn|optim|all\.h|script\.h|torch\.h|csrc/jit)")
VENDOR = re.compile(r"mpi\.h|nccl\.h|cuda_runtime\.h")
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.M)
# Headers at the top of include/fakescore, and the layer that each is of; export.hpp is of none.
TOP_HEADERS = {"fakescore/error.hpp": "error"}
NO_LAYER = {"fakescore/export.hpp"}
MAX_LINES = 400
MAX_TEST_LINES = 600  # a table of cases is one idea, however long


def allowed(layer):
    layers = {layer}
    for below in BELOW[layer]:
        layers |= allowed(below)
    return layers


def layer_of_include(name):
    if name in TOP_HEADERS:
        return TOP_HEADERS[name]
    parts = pathlib.PurePosixPath(name.removeprefix("fakescore/")).parts
    return parts[0] if len(parts) > 1 and parts[0] in BELOW else None


def layer_of_file(relative):
    if relative.parts[0] not in ("include", "src"):
        return None
    return layer_of_include(str(pathlib.PurePosixPath(*relative.parts[1:])))


def is_below(folder, included, folders):
    above = pathlib.PurePosixPath(included).parts[1]
    return folder in folders and above in folders and folders.index(folder) < folders.index(above)


def problems(path):
    relative = path.relative_to(ROOT)
    text = path.read_text()
    lines = text.count("\n")
    limit = MAX_TEST_LINES if relative.parts[0] == "tests" else MAX_LINES
    if lines > limit:
        yield f"{relative}: {lines} lines, more than {limit}"
    is_public = relative.parts[0] == "include"
    layer = layer_of_file(relative)
    for bracket, name in INCLUDE.findall(text):
        if ".." in pathlib.PurePosixPath(name).parts:
            yield f"{relative}: includes {name}: name it by its path from include/ or src/"
            continue
        if is_public and VENDOR.search(name) and not path.name.startswith("adopt_"):
            yield f"{relative}: a public header includes {name}"
        if layer is None:
            continue
        if MODULES.search(name) and layer not in SEES_MODULES:
            yield f"{relative}: layer {layer} includes {name}: only {sorted(SEES_MODULES)} know modules"
        target = layer_of_include(name)
        own = bracket == '"' or name.startswith("fakescore/")
        if own and not target and name not in NO_LAYER:
            yield f"{relative}: layer {layer} includes {name}, which is of no layer"
        if target and target not in allowed(layer):
            yield f"{relative}: layer {layer} includes {name} of layer {target}"
        if target == layer and is_below(relative.parts[2], name, FOLDERS.get(layer, [])):
            yield f"{relative}: includes {name}, which is above it"


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
