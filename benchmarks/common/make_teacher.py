#!/usr/bin/env python3
"""Writes a safetensors file of finite pseudo-random weights, with the names and shapes of a model.

    wan      the video transformer Wan 2.1 (1.3 billion parameters with 30 blocks of width 1536)
    small    --small tensors of 4 KiB and --large tensors of 8 MiB, which interrupt them evenly
    mixed    --count tensors of 2 bytes to 8 MiB in bfloat16, float32 and int64

With --traps the model has what state-dict code gets wrong, and the file lies as safetensors' own
save_file orders it (wide dtypes first, then by name): a float32 buffer "noise_schedule" beside the
weights, and "logvar_linear.weight", tied to another weight and stored once. Rotary tables, which no
file holds, are for the program that builds the model.
"""
import argparse
import json
import math
import pathlib
import random
import struct

ELEMENT_BYTES = {"BF16": 2, "F32": 4, "I64": 8}
CHUNK_BYTES = 1 << 24
SMALL_BYTES = 4 << 10
LARGE_BYTES = 8 << 20
# Without the highest bit of the exponent a number is finite, in either dtype.
FINITE = bytes(byte & 0xBF for byte in range(256))

NOISE_SCHEDULE = "noise_schedule"
TIED = "logvar_linear.weight"
EMBEDDER = "embedder.weight"

Shapes = dict[str, list[int]]
Entries = dict[str, tuple[str, list[int]]]  # dtype and shape


def wan_block(prefix: str, width: int, hidden: int) -> Shapes:
    shapes: Shapes = {f"{prefix}.scale_shift_table": [1, 6, width]}
    for attention in ("attn1", "attn2"):
        for part in ("to_q", "to_k", "to_v", "to_out.0"):
            shapes[f"{prefix}.{attention}.{part}.weight"] = [width, width]
            shapes[f"{prefix}.{attention}.{part}.bias"] = [width]
        for part in ("norm_q", "norm_k"):
            shapes[f"{prefix}.{attention}.{part}.weight"] = [width]
    shapes[f"{prefix}.norm2.weight"] = [width]
    shapes[f"{prefix}.norm2.bias"] = [width]
    for part, rows, columns in (("0.proj", hidden, width), ("2", width, hidden)):
        shapes[f"{prefix}.ffn.net.{part}.weight"] = [rows, columns]
        shapes[f"{prefix}.ffn.net.{part}.bias"] = [rows]
    return shapes


def wan(blocks: int, width: int) -> Shapes:
    hidden = width * 35 // 6
    shapes: Shapes = {"patch_embedding.weight": [width, 16, 1, 2, 2],
                      "patch_embedding.bias": [width]}
    linear = {"text_embedder.linear_1": (width, 4096), "text_embedder.linear_2": (width, width),
              "time_embedder.linear_1": (width, 256), "time_embedder.linear_2": (width, width),
              "time_proj": (6 * width, width)}
    for name, (rows, columns) in linear.items():
        shapes[f"condition_embedder.{name}.weight"] = [rows, columns]
        shapes[f"condition_embedder.{name}.bias"] = [rows]
    for block in range(blocks):
        shapes |= wan_block(f"blocks.{block}", width, hidden)
    return shapes | {"scale_shift_table": [1, 2, width], "proj_out.weight": [64, width],
                     "proj_out.bias": [64]}


def small(count: int, large: int, element_bytes: int) -> Shapes:
    shapes: Shapes = {}
    for index in range(count):
        if large and index * large // count != (index - 1) * large // count:
            shapes[f"large.{index * large // count}"] = [LARGE_BYTES // element_bytes]
        shapes[f"small.{index}"] = [SMALL_BYTES // element_bytes]
    return shapes


def mixed(count: int, seed: int) -> Entries:
    """Linear layers, scales and counters of many sizes; every 150th is large."""
    numbers = random.Random(seed)
    entries: Entries = {}
    while len(entries) < count:
        index = len(entries)
        layer = f"groups.{index // 100}.{index % 100}"
        exponent = numbers.uniform(19, 21) if index % 150 == 0 else numbers.uniform(0, 16)
        elements, kind = int(2 ** exponent), numbers.random()
        dtype = "F32" if numbers.random() < 0.3 else "BF16"
        if kind < 0.6:
            rows = math.isqrt(elements)
            entries[f"{layer}.weight"] = dtype, [rows, elements // rows]
            entries[f"{layer}.bias"] = dtype, [rows]
        elif kind < 0.9:
            entries[f"{layer}.scale"] = dtype, [elements]
        else:
            entries[f"{layer}.count"] = "I64", []
    return dict(list(entries.items())[:count])


def typed(shapes: Shapes, dtype: str) -> Entries:
    return {name: (dtype, shape) for name, shape in shapes.items()}


def with_traps(entries: Entries) -> tuple[Entries, dict[str, str]]:
    """The entries in the order of the file, and its metadata, which says what is tied to what."""
    owner = "condition_embedder.time_embedder.linear_2.weight"
    if owner not in entries:
        owner = EMBEDDER
        entries = entries | {owner: ("BF16", [64, 32])}
    entries = entries | {NOISE_SCHEDULE: ("F32", [1000])}
    order = sorted(entries, key=lambda name: (-ELEMENT_BYTES[entries[name][0]], name))
    return {name: entries[name] for name in order}, {TIED: owner}


def write(path: pathlib.Path, entries: Entries, seed: int,
          metadata: dict[str, str] | None = None) -> int:
    header: dict = {"__metadata__": metadata} if metadata else {}
    offset = 0
    for name, (dtype, shape) in entries.items():
        end = offset + math.prod(shape) * ELEMENT_BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    numbers = random.Random(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with open(partial, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for begin in range(0, offset, CHUNK_BYTES):
            chunk = numbers.randbytes(min(CHUNK_BYTES, offset - begin))
            file.write(chunk.translate(FINITE))
    partial.rename(path)
    return offset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("path", type=pathlib.Path)
    parser.add_argument("--kind", choices=("wan", "small", "mixed"), default="wan")
    parser.add_argument("--blocks", type=int, default=30, help="of wan (default 30: 2.8 GB)")
    parser.add_argument("--width", type=int, default=1536, help="of wan (default 1536)")
    parser.add_argument("--small", type=int, default=5000, help="tensors of 4 KiB (default 5000)")
    parser.add_argument("--large", type=int, default=4, help="tensors of 8 MiB (default 4)")
    parser.add_argument("--count", type=int, default=20000, help="of mixed (default 20000: 0.5 GB)")
    parser.add_argument("--dtype", choices=("BF16", "F32"), default="BF16",
                        help="of wan and small (default BF16)")
    parser.add_argument("--traps", action="store_true", help="a tie and a float32 buffer, see above")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.kind == "wan":
        entries = typed(wan(args.blocks, args.width), args.dtype)
    elif args.kind == "small":
        shapes = small(args.small, args.large, ELEMENT_BYTES[args.dtype])
        entries = typed(shapes, args.dtype)
    else:
        entries = mixed(args.count, args.seed)
    entries, metadata = with_traps(entries) if args.traps else (entries, None)
    size = write(args.path, entries, args.seed, metadata)
    print(f"{args.path}: {len(entries)} tensors, {size} bytes")


if __name__ == "__main__":
    main()
