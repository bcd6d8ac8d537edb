"""Compares what the readers make of generated files with what safetensors and torch make of them:
compare.py PROGRAM FOLDER CASES SEED. See docs/fuzzing.md.

A file that is read must be read alike by the library that its format belongs to: same names, dtypes,
shapes and bytes. PyTorch files that torch refuses may be read, since nothing of them is run, what
lies beside the tensors least of all; they are counted. A file that is refused although the library
reads it must be refused for a reason of the list below. Files of cases that fail stay in FOLDER.
"""

import collections
import json
import pathlib
import pickle
import random
import subprocess
import sys
import types
import warnings

import numpy  # noqa: F401: torch and safetensors use it
import safetensors.torch
import torch

import generated_files

warnings.filterwarnings("ignore")

# What is refused although the library reads it: part of our error's text, and why.
REFUSED_SAFETENSORS = {
    "is in the header twice": "the library keeps the last of two tensors of one name",
    "shape overflows": "strides of no elements, in bytes",
    "header entry lacks dtype, shape or data_offsets": "an entry written as a list",
    "holds no tensor": "a file without tensors",
}
REFUSED_TORCH = {
    "is there twice": "two keys that make one name: 1 and '1', or 'a.b' and 'b' in 'a'",
    "is neither a tensor nor a plain container": "globals",
    "holds no tensor": "no tensor",
    ", not a state dict": "no dict at the top",
    "has attributes that torch.save does not write": "a tensor with a state",
    "ends with values left over": "a stack that is not empty at the end",
    "something else where a call's arguments should be": "a call of a list",
    "has a storage of the class": "a class of storage in a module that has none",
    "of arguments that torch.save does not write": "a Counter or the like made of other arguments",
    "names with several classes or sizes": "one storage of two classes or sizes",
    "has no storage": "a storage named by a number, not by a text",
    "hostile": "cost",
}

NAMES = {
    torch.bool: "Bool", torch.uint8: "Byte", torch.int8: "Char", torch.int16: "Short",
    torch.int32: "Int", torch.int64: "Long", torch.uint16: "UInt16", torch.uint32: "UInt32",
    torch.uint64: "UInt64", torch.float16: "Half", torch.bfloat16: "BFloat16",
    torch.float32: "Float", torch.float64: "Double", torch.complex64: "ComplexFloat",
    torch.complex128: "ComplexDouble", torch.float8_e4m3fn: "Float8_e4m3fn",
    torch.float8_e5m2: "Float8_e5m2", torch.float8_e4m3fnuz: "Float8_e4m3fnuz",
    torch.float8_e5m2fnuz: "Float8_e5m2fnuz", torch.float8_e8m0fnu: "Float8_e8m0fnu",
    torch.float4_e2m1fn_x2: "Float4_e2m1fn_x2", torch.complex32: "ComplexHalf",
}


def describe(tensor):
    """[DTYPE, SIZES, BYTES in hexadecimal digits]."""
    plain = tensor.detach().resolve_conj().resolve_neg().contiguous()
    count = plain.numel() * plain.element_size()
    content = bytes(plain.untyped_storage())[
        plain.storage_offset() * plain.element_size():][:count] if count else b""
    return [NAMES[plain.dtype], list(plain.shape), content.hex()]


class NoStateDict(Exception):
    pass


def flatten(value, prefix=""):
    """The tensors of a state dict under dotted names, as docs/teachers.md says."""
    if not isinstance(value, dict):
        raise NoStateDict(type(value).__name__)
    found = {}
    for key, child in value.items():
        if isinstance(key, bool) or not isinstance(key, (str, int)):
            continue
        name = prefix + str(key)
        if isinstance(child, torch.Tensor):
            entries = {name: describe(child)}
        elif isinstance(child, dict):
            entries = flatten(child, name + ".")
        else:
            continue
        for entry, content in entries.items():
            if entry in found:
                raise NoStateDict("is there twice: " + entry)
            found[entry] = content
    return found


def safetensors_says(path):
    return {name: describe(tensor) for name, tensor in safetensors.torch.load_file(path).items()}


class PlainUnpickler(pickle.Unpickler):
    """Python's own, of what the generator names and nothing else."""

    def find_class(self, module, name):
        if f"{module} {name}" not in generated_files.GLOBALS:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)


PlainPickle = types.SimpleNamespace(Unpickler=PlainUnpickler, load=pickle.load, __name__="pickle")


def torch_says(path):
    """What torch reads with weights_only; where it refuses that, what it reads without."""
    try:
        return flatten(torch.load(path, map_location="cpu", weights_only=True))
    except NoStateDict:
        raise
    except Exception:
        return flatten(torch.load(path, map_location="cpu", weights_only=False,
                                  pickle_module=PlainPickle))


class Readers:
    """Our readers, in a process of their own."""

    def __init__(self, program):
        self.process = subprocess.Popen(
            [program], env={"FAKESCORE_FUZZ_TARGET": "dump", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def read(self, path, key):
        self.process.stdin.write(f"{key}\t{path}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"FINDING: the readers ended, with status {self.process.wait()}, at {path}")
        return json.loads(line)


def judge(said, expected, failure, refused, reads_alone):
    """What is wrong, or None; and the kind of the case, for the count."""
    if "error" in said:
        if failure is not None:
            return None, "refused by both"
        for text in refused:
            if text in said["error"]:
                return None, "refused here: " + refused[text]
        return "is refused without need: " + said["error"], ""
    if failure is not None and reads_alone:
        return None, "read here alone"
    if failure is not None:
        return f"is read here alone: {failure!r:.300}", ""
    if said["tensors"] != expected:
        return f"is read as\n{said['tensors']}\nand by the library as\n{expected}", ""
    return None, "read alike"


def main():
    program, folder, cases, seed = sys.argv[1], pathlib.Path(sys.argv[2]), *map(int, sys.argv[3:])
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(seed)
    torch.manual_seed(seed)
    readers = Readers(program)
    kinds, failed = collections.Counter(), 0
    for number in range(cases):
        if chance.random() < 0.5:
            path, content = folder / f"{seed}-{number}.safetensors", generated_files.safetensors_file(chance)
            says, refused, key = safetensors_says, REFUSED_SAFETENSORS, ""
        else:
            path, content = folder / f"{seed}-{number}.pt", generated_files.torch_file(chance)
            says, refused, key = torch_says, REFUSED_TORCH, "."
        path.write_bytes(content)
        try:
            expected, failure = says(path), None
        except (Exception, NoStateDict) as error:
            expected, failure = None, error
        fault, kind = judge(readers.read(path, key), expected, failure, refused,
                            path.suffix == ".pt")
        if fault is None:
            kinds[path.suffix[1:] + ", " + kind] += 1
            path.unlink()
            continue
        failed += 1
        print(f"FINDING: {path} {fault[:2000]}")
    for kind, count in sorted(kinds.items()):
        print(f"{count:7} {kind}")
    print(f"{cases} cases of seed {seed}, {failed} findings")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
