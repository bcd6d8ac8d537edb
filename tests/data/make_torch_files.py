#!/usr/bin/env python3
"""Writes torch/: small files in each of PyTorch's own formats, and what is in them.

    .venv/bin/python3 tests/data/make_torch_files.py      (torch 2.11.0)

expected.json holds, by file and key ("FILE#KEY"), what torch itself reads there: for each name the
dtype, the shape and the bytes of the elements in row-major order, as hexadecimal digits.
"""
import collections
import json
import os
import pathlib
import shutil
import sys
import warnings

import torch

warnings.filterwarnings("ignore")
FOLDER = pathlib.Path(__file__).resolve().parent / "torch"
EXPECTED = {}

# Every dtype of torch 2.11 that has plain elements, with the bytes of an element.
DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64", "float16",
          "bfloat16", "float32", "float64", "complex32", "complex64", "complex128", "float8_e4m3fn",
          "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2"]


def some_bytes(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count,), dtype=torch.uint8, generator=generator)


def of_dtype(name, seed):
    dtype = getattr(torch, name)
    if dtype is torch.bool:
        return torch.tensor([[True, False, True], [False, False, True]])
    return some_bytes(6 * dtype.itemsize, seed).view(dtype).view(2, 3)


def element_bytes(tensor):
    tensor = tensor.detach().resolve_conj().resolve_neg()
    if tensor.is_contiguous():
        flat = tensor.reshape(-1).view(torch.uint8) if tensor.numel() else torch.empty(0, dtype=torch.uint8)
    else:
        flat = tensor.contiguous().reshape(-1).view(torch.uint8)
    return bytes(flat.tolist()).hex()


def expect(file, key, tensors):
    EXPECTED[f"{file}#{key}"] = {
        name: [str(tensor.dtype).removeprefix("torch."), list(tensor.shape), element_bytes(tensor)]
        for name, tensor in tensors.items()}


def save(file, content, tensors=None, key="", **options):
    torch.save(content, FOLDER / file, **options)
    if tensors is not None:
        expect(file, key, tensors)


def dtypes():
    tensors = {name: of_dtype(name, seed) for seed, name in enumerate(DTYPES)}
    save("dtypes.pt", tensors, tensors)


def layouts():
    base = torch.arange(24, dtype=torch.float32).view(4, 6)
    complexes = torch.complex(torch.arange(6.0).view(2, 3), -torch.arange(6.0).view(2, 3))
    tensors = collections.OrderedDict(
        whole=base, tied=base, row=base[2], columns=base[:, 1:3], transposed=base.t(),
        channels_last=torch.arange(16.0).view(1, 2, 2, 4).contiguous(memory_format=torch.channels_last),
        expanded=torch.tensor([1.5, 2.5]).unsqueeze(1).expand(2, 3), scalar=torch.tensor(7),
        empty=torch.empty(0, 4), conjugate=complexes.conj(), negative=torch._neg_view(torch.arange(3.0)))
    save("layouts.pt", tensors, tensors)


def small_model():
    torch.manual_seed(5)
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    return model


def parameters():
    model = small_model()
    save("parameters.pt", model.state_dict(), model.state_dict())
    plain = {"parameter": torch.nn.Parameter(torch.ones(2)), "buffer": torch.nn.Buffer(torch.zeros(3))}
    plain["parameter"].note = "an attribute makes torch write another rebuild"
    save("parameter_objects.pt", plain, plain)


def nested():
    model = small_model()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(4, 2)).sum().backward()
    optimizer.step()
    weights, averaged = model.state_dict(), {"weight": torch.full((2,), 9.0)}
    content = {
        "epoch": 3, "loss": 0.5, "big": 2**80, "seed": 2**64 - 1, "note": "\N{SNOWMAN}", "none": None,
        "raw": b"\x00\xff", "set": {1, 2}, "frozen": frozenset(["a"]), "complex": 1 + 2j,
        "array": bytearray(b"xyz"), "device": torch.device("cpu"), "size": torch.Size([2, 3]),
        "dtype": torch.bfloat16, "betas": (0.9, 0.99), "default": collections.defaultdict(dict, a=1),
        "history": [1, [2, {"x": (3,)}], torch.ones(1)], "rng": torch.tensor([1, 2], dtype=torch.uint8),
        "model": weights, "ema": {"params.decay": {"inner": averaged}, 0: averaged},
        "optimizer": optimizer.state_dict()}
    for protocol in (2, 3, 4, 5):
        save(f"nested_{protocol}.pt", content, weights, "model", pickle_protocol=protocol)
        expect(f"nested_{protocol}.pt", "ema.params.decay.inner", averaged)
        expect(f"nested_{protocol}.pt", "ema.0", averaged)
    expect("nested_2.pt", "ema", {"params.decay.inner.weight": averaged["weight"],
                                  "0.weight": averaged["weight"]})


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.arange(6.0).view(2, 3))
        self.register_buffer("scale", torch.tensor(0.5))
        self.register_buffer("scratch", torch.tensor([1, 2]), persistent=False)
        self.plain = torch.full((2,), 3.0)
        self.sizes = [1, 2]

    def forward(self, x):
        return x @ self.weight.t() * self.scale + self.plain


class Scripted(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = torch.nn.ModuleList([Block(), Block()])
        self.tied = self.blocks[0].weight
        self.norm = torch.nn.LayerNorm(2)

    def forward(self, x):
        return self.norm(self.blocks[0](x))


def torchscript():
    torch.manual_seed(6)
    module = torch.jit.script(Scripted().eval())
    module.save(str(FOLDER / "scripted.jit"))
    loaded = torch.jit.load(FOLDER / "scripted.jit")
    # A state dict leaves out what is neither parameter nor buffer; the file has it beside them.
    tensors = dict(loaded.state_dict())
    tensors.update({f"blocks.{i}.plain": getattr(loaded.blocks, str(i)).plain for i in range(2)})
    expect("scripted.jit", "", tensors)
    EXPECTED["scripted.jit state_dict"] = sorted(loaded.state_dict())
    torch.jit.freeze(module).save(str(FOLDER / "frozen.jit"))


class EveryDtype(torch.nn.Module):
    def __init__(self):
        super().__init__()
        for seed, name in enumerate(DTYPES):
            self.register_buffer(f"a_{name}", of_dtype(name, seed))

    def forward(self, x):
        return x


def torchscript_dtypes():
    module = EveryDtype()
    torch.jit.script(module).save(str(FOLDER / "scripted_dtypes.jit"))
    expect("scripted_dtypes.jit", "", module.state_dict())


class Runs:
    """What unpickling this does is to call something."""
    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


def refused():
    weights = {"weight": torch.ones(2)}
    save("legacy.pt", weights, _use_new_zipfile_serialization=False)
    for protocol in (3, 4, 5):
        save(f"legacy_{protocol}.pt", weights, _use_new_zipfile_serialization=False,
             pickle_protocol=protocol)
    save("module.pt", torch.nn.Linear(2, 1))
    save("tensor.pt", torch.ones(2))
    save("list.pt", [torch.ones(2)])
    save("plain.pt", {"epoch": 3})
    for protocol in (2, 4):
        save(f"system_{protocol}.pt", dict(weights, x=Runs(os.system, "touch fakescore_ran_this")),
             pickle_protocol=protocol)
        save(f"eval_{protocol}.pt", dict(weights, x=Runs(eval, "open('fakescore_ran_this', 'w')")),
             pickle_protocol=protocol)
    save("quantized.pt", dict(weights, q=torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)))
    save("sparse.pt", dict(weights, s=torch.eye(2).to_sparse()))
    save("meta.pt", dict(weights, m=torch.empty(2, device="meta")))
    save("beside_quantized.pt", {"model": weights, "other": {
        "q": torch.quantize_per_channel(torch.ones(2, 2), torch.ones(2), torch.zeros(2), 0, torch.qint8)}},
         weights, "model")


def sharded():
    folder = FOLDER / "sharded_bin"
    folder.mkdir()
    shards = {"pytorch_model-00001-of-00002.bin": {"a": torch.ones(2)},
              "pytorch_model-00002-of-00002.bin": {"b": torch.full((3,), 2.0, dtype=torch.bfloat16)}}
    weight_map = {}
    for file, tensors in shards.items():
        torch.save(tensors, folder / file)
        weight_map.update({name: file for name in tensors})
    index = {"metadata": {"total_size": 14}, "weight_map": weight_map}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=1) + "\n")
    expect("sharded_bin", "", {name: t for tensors in shards.values() for name, t in tensors.items()})


def main():
    if not torch.__version__.startswith("2.11."):
        sys.exit(f"the files are made with torch 2.11, this is {torch.__version__}")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    for make in (dtypes, layouts, parameters, nested, torchscript, torchscript_dtypes, refused, sharded):
        make()
    (FOLDER / "expected.json").write_text(json.dumps(EXPECTED, indent=0) + "\n")


if __name__ == "__main__":
    main()
