"""Seeds for the fuzz targets, from the tests' own data: make_seeds.py DATA SEEDS

Writes a folder SEEDS/TARGET for each target. Large files are left out: what a reader looks at is in
small ones as well.
"""

import pathlib
import shutil
import struct
import sys
import zipfile

MOST_BYTES = 32768


def write(seeds, target, name, content):
    folder = seeds / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def header_alone(file):
    """A safetensors file with its header and no more data than fits."""
    content = file.read_bytes()
    end = 8 + struct.unpack("<Q", content[:8])[0]
    return content[: max(end, MOST_BYTES)] if end < MOST_BYTES else None


def folder_input(files):
    """See folder_input.hpp."""
    result = b""
    for file in files:
        name, content = file.name.encode(), file.read_bytes()
        result += bytes([len(name)]) + name + struct.pack("<I", len(content)) + content
    return result


def seed_files(data, seeds):
    for file in sorted(data.rglob("*")):
        if not file.is_file():
            continue
        name = str(file.relative_to(data)).replace("/", "_")
        if file.suffix == ".safetensors":
            content = header_alone(file)
            if content is not None:
                write(seeds, "safetensors", name, content)
                write(seeds, "open", name, content)
        elif file.name.endswith(".index.json"):
            write(seeds, "index", name, file.read_bytes())
        elif file.name == ".metadata":
            write(seeds, "dcp", name, file.read_bytes())
            write(seeds, "pickle", name, file.read_bytes())
        elif file.suffix in (".pt", ".pth", ".bin", ".jit") and file.stat().st_size < MOST_BYTES:
            write(seeds, "open", name, file.read_bytes())
            seed_archive(file, name, seeds)


def seed_archive(file, name, seeds):
    if not zipfile.is_zipfile(file):
        return
    write(seeds, "zip", name, file.read_bytes())
    with zipfile.ZipFile(file) as archive:
        for record in archive.namelist():
            if record.endswith("/data.pkl"):
                write(seeds, "pickle", name, archive.read(record))


def seed_folders(data, seeds):
    folders = [f for f in sorted((data / "dcp").iterdir()) if f.is_dir()]
    folders += [data / "models" / "wan_sharded", data / "torch" / "sharded_bin"]
    for folder in folders:
        # What describes the tensors comes first: .metadata, or else the index.
        files = sorted(folder.iterdir(), key=lambda f: (f.suffix != ".json", f.name))
        content = folder_input(files)
        if len(content) < 2 * MOST_BYTES:
            write(seeds, "folder", folder.name, content)


def main():
    data, seeds = map(pathlib.Path, sys.argv[1:])
    shutil.rmtree(seeds, ignore_errors=True)
    seed_files(data, seeds)
    seed_folders(data, seeds)


if __name__ == "__main__":
    main()
