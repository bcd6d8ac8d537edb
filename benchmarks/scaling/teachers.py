"""Teachers of any number of small tensors, in each format."""
import json
import pathlib
import shutil
import struct

TENSOR_BYTES = 64
SHARDS = 8
SHAPE = [4, 4]


def names_of(count: int) -> list[str]:
    return [f"model.layers.{index:06d}.weight" for index in range(count)]


def write_safetensors(path: pathlib.Path, names: list[str], ties: dict[str, str]) -> None:
    header: dict = {"__metadata__": ties} if ties else {}
    for index, name in enumerate(names):
        begin = index * TENSOR_BYTES
        header[name] = {"dtype": "F32", "shape": SHAPE,
                        "data_offsets": [begin, begin + TENSOR_BYTES]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + bytes(len(names) * TENSOR_BYTES))


def write_single(folder: pathlib.Path, count: int) -> None:
    write_safetensors(folder / "model.safetensors", names_of(count), {})


def write_ties(folder: pathlib.Path, count: int) -> None:
    """Half of the names are ties to the other half."""
    names = names_of(count)
    half = count // 2
    write_safetensors(folder / "model.safetensors", names[:half],
                      dict(zip(names[half:2 * half], names[:half])))


def write_index(folder: pathlib.Path, count: int) -> None:
    names = names_of(count)
    weight_map = {}
    for shard in range(SHARDS):
        file = f"model-{shard + 1:05d}-of-{SHARDS:05d}.safetensors"
        part = names[shard * count // SHARDS:(shard + 1) * count // SHARDS]
        write_safetensors(folder / file, part, {})
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def write_torch(folder: pathlib.Path, count: int) -> None:
    import torch
    torch.save({name: torch.zeros(SHAPE) for name in names_of(count)},
               folder / "pytorch_model.bin")


def write_torch_tied(folder: pathlib.Path, count: int) -> None:
    """Each tensor under two names."""
    import torch
    names = names_of(count)
    tensors = [torch.zeros(SHAPE) for _ in range((count + 1) // 2)]
    torch.save({name: tensors[index // 2] for index, name in enumerate(names)},
               folder / "pytorch_model.bin")


def write_distributed(folder: pathlib.Path, count: int) -> None:
    import torch
    import torch.distributed.checkpoint as checkpoint
    checkpoint.save({name: torch.zeros(SHAPE) for name in names_of(count)},
                    storage_writer=checkpoint.FileSystemWriter(folder), no_dist=True)


WRITERS = {"safetensors": write_single, "ties": write_ties, "index": write_index,
           "torch": write_torch, "torch_tied": write_torch_tied, "dcp": write_distributed}


def teacher_of(kind: str, count: int, root: pathlib.Path) -> pathlib.Path:
    """The folder of a teacher, written if it is not there."""
    folder = root / f"{kind}-{count}"
    if not folder.exists():
        partial = root / f"{kind}-{count}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        WRITERS[kind](partial, count)
        partial.rename(folder)
    return folder
