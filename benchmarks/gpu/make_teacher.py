#!/usr/bin/env python3
"""Writes a safetensors file of finite pseudo-random weights, with the names and shapes of a model.

    wan      the video transformer Wan 2.1 (1.3 billion parameters with 30 blocks of width 1536)
    small    --small tensors of 4 KiB and --large tensors of 8 MiB, which interrupt them evenly
"""
import argparse
import json
import math
import pathlib
import random
import struct

ELEMENT_BYTES = {"BF16": 2, "F32": 4}
CHUNK_BYTES = 1 << 24
SMALL_BYTES = 4 << 10
LARGE_BYTES = 8 << 20
# Without the highest bit of the exponent a number is finite, in either dtype.
FINITE = bytes(byte & 0xBF for byte in range(256))

Shapes = dict[str, list[int]]


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


def write(path: pathlib.Path, shapes: Shapes, dtype: str, seed: int) -> int:
    header, offset = {}, 0
    for name, shape in shapes.items():
        end = offset + math.prod(shape) * ELEMENT_BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    numbers = random.Random(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for begin in range(0, offset, CHUNK_BYTES):
            chunk = numbers.randbytes(min(CHUNK_BYTES, offset - begin))
            file.write(chunk.translate(FINITE))
    return offset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("path", type=pathlib.Path)
    parser.add_argument("--kind", choices=("wan", "small"), default="wan")
    parser.add_argument("--blocks", type=int, default=30, help="of wan (default 30: 2.8 GB)")
    parser.add_argument("--width", type=int, default=1536, help="of wan (default 1536)")
    parser.add_argument("--small", type=int, default=5000, help="tensors of 4 KiB (default 5000)")
    parser.add_argument("--large", type=int, default=4, help="tensors of 8 MiB (default 4)")
    parser.add_argument("--dtype", choices=ELEMENT_BYTES, default="BF16")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.kind == "wan":
        shapes = wan(args.blocks, args.width)
    else:
        shapes = small(args.small, args.large, ELEMENT_BYTES[args.dtype])
    size = write(args.path, shapes, args.dtype, args.seed)
    print(f"{args.path}: {len(shapes)} tensors, {size} bytes")


if __name__ == "__main__":
    main()
