"""Files for compare.py: whole ones, and ones that are changed where readers may differ."""

import collections
import io
import json
import pickletools
import struct
import zipfile

import torch

FORMAT_DTYPES = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F8_E8M0": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F7": 7,
    "f32": 32,
}
SIZES = [0, 1, 1, 2, 2, 3, 4, 5]
ODD_SIZES = [2**31, 2**32, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -1, 1.0, True, None]
TEXTS = ["x", "y", "a.b", "", "__metadata__", "a\u0000b", "\u00e9", "\U0001f600", "w\u001b[31m"]
# What pickles of the generator name, by torch or by Python.
GLOBALS = {
    "collections OrderedDict", "collections defaultdict", "collections Counter",
    "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor_v3",
    "torch._utils _rebuild_parameter", "torch float8_e4m3fn", "torch uint16", "torch float16",
    "torch FloatStorage", "torch DoubleStorage", "torch HalfStorage", "torch BFloat16Storage",
    "torch LongStorage", "torch IntStorage", "torch ByteStorage", "torch BoolStorage",
    "torch ComplexFloatStorage", "torch.storage UntypedStorage", "torch Size",
    "builtins int", "__builtin__ int", "__builtin__ long", "builtins set", "builtins frozenset", "__builtin__ frozenset", "__builtin__ set",
    "builtins complex", "__builtin__ complex", "builtins bytearray", "__builtin__ bytearray",
    "_codecs encode",
}


def entry_text(chance, dtype, shape, begin, end):
    fields = [f'"dtype":{json.dumps(dtype)}', f'"shape":{json.dumps(shape)}',
              f'"data_offsets":[{begin},{end}]']
    if chance.random() < 0.03:
        fields.append(chance.choice(['"more":[{"a":1.5},null]', fields[0], '"more":1,"more":2',
                                     '"shape":[1]']))
    if chance.random() < 0.02:
        fields.pop(chance.randrange(len(fields)))
    chance.shuffle(fields)
    if chance.random() < 0.01:
        return f"[{json.dumps(dtype)},{json.dumps(shape)},[{begin},{end}]]"
    return "{" + ",".join(fields) + "}"


def safetensors_file(chance):
    entries, offset = [], 0
    names = chance.sample(TEXTS[:4] + TEXTS[5:] + ["a", "b", "c"], chance.randrange(5))
    if names and chance.random() < 0.05:
        names.append(names[0])
    for name in names:
        # Of a name that is there twice, the library never sees the first tensor's dtype.
        dtype = chance.choice(list(FORMAT_DTYPES)) if names.count(name) == 1 else "U8"
        shape = [chance.choice(SIZES) for _ in range(chance.randrange(4))]
        if chance.random() < 0.05:
            shape.insert(chance.randrange(len(shape) + 1), chance.choice(ODD_SIZES))
        bits = FORMAT_DTYPES[dtype]
        for size in shape:
            bits = bits * size if isinstance(size, int) and size >= 0 else bits
        length = (bits + 7) // 8 if bits < 2**20 else chance.randrange(4)
        begin, end = offset, offset + length
        offset = end
        if chance.random() < 0.03:
            begin = chance.choice([begin + 1, max(begin - 1, 0), -1, 2**64 - 1, "1.0"])
        entries.append(f"{json.dumps(name, ensure_ascii=chance.random() < 0.5)}:"
                       + entry_text(chance, dtype, shape, begin, end))
    chance.shuffle(entries)
    if chance.random() < 0.2:
        metadata = chance.choice(['{"a":"b"}', "null", "{}", '{"a":1}', "[]", '{"a":"b","a":"c"}'])
        entries.insert(chance.randrange(len(entries) + 1), f'"__metadata__":{metadata}')
    header = ("{" + ",".join(entries) + "}").encode("utf-8", "surrogatepass")
    header = spoil_header(chance, header)
    data = bytes(chance.randrange(256) for _ in range(max(offset + spoil_length(chance), 0)))
    return struct.pack("<Q", max(len(header) + spoil_length(chance), 0)) + header + data


def spoil_length(chance):
    return chance.choice([1, -1, 8]) if chance.random() < 0.01 else 0


def spoil_header(chance, header):
    if chance.random() < 0.3:
        header += b" " * chance.randrange(9)
    if chance.random() > 0.1:
        return header
    at = chance.randrange(len(header) + 1)
    return chance.choice([
        header + b"\0" * 3, header + b'\0{"y":1}', header + b"{}", b" " + header,
        b"\xef\xbb\xbf" + header, header[:at] + b"\xff" + header[at:], header[:at],
        header[:at] + header[at + 1:], header[:at] + bytes([chance.randrange(128)]) + header[at:],
        header.replace(b"\"x\"", b"\"\\u0078\""), header.replace(b"\"x\"", b"\"\\ud800\""),
    ])


def random_tensor(chance, storages):
    dtype = chance.choice([torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8,
                           torch.bool, torch.complex64, torch.float64, torch.int32, torch.uint16,
                           torch.float8_e4m3fn])
    shape = [chance.choice(SIZES) for _ in range(chance.randrange(4))]
    tensor = torch.randint(0, 2, shape).to(dtype)
    if storages and chance.random() < 0.2:
        return chance.choice(storages)
    if tensor.dim() > 1 and chance.random() < 0.3:
        tensor = tensor.transpose(0, 1)
    if tensor.numel() > 1 and tensor.dim() and chance.random() < 0.2:
        tensor = tensor[1:]
    if dtype == torch.complex64 and chance.random() < 0.5:
        tensor = chance.choice([tensor.conj(), tensor.conj().imag])
    if dtype == torch.float32 and chance.random() < 0.2:
        tensor = torch.nn.Parameter(tensor)
    if dtype == torch.float32 and chance.random() < 0.1:
        tensor = tensor.detach()[..., None].expand(*tensor.shape, 2)
    storages.append(tensor)
    return tensor


def random_value(chance, storages, depth):
    draw = chance.random()
    if draw < 0.55:
        return random_tensor(chance, storages)
    if draw < 0.75 and depth < 3:
        return random_dict(chance, storages, depth + 1)
    return chance.choice([
        None, True, 7, -(2**40), 2**80, 1.5, "text", b"bytes", (1, 2), [1, [2]], {1, 2},
        frozenset([3]), 1 + 2j, torch.Size([2]), torch.float16, bytearray(b"ab")])


def random_dict(chance, storages, depth):
    value = chance.choice([dict, dict, collections.OrderedDict,
                           lambda: collections.defaultdict(int), collections.Counter])()
    for _ in range(chance.randrange(5)):
        key = chance.choice(["w", "b", "a.b", "layer", 0, 1, 2, -3, "1", True, None, 1.5, "\u00e9"])
        value[key] = random_value(chance, storages, depth)
    return value


def torch_file(chance):
    buffer = io.BytesIO()
    torch.save(random_dict(chance, [], 0), buffer, pickle_protocol=chance.choice([2, 2, 3, 4, 5]))
    if chance.random() < 0.5:
        return buffer.getvalue()
    return change_pickle(chance, buffer.getvalue())


def change_pickle(chance, content):
    """The same archive with another pickle."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(result, "w") as new:
        for name in old.namelist():
            record = old.read(name)
            new.writestr(name, change_opcodes(chance, record) if name.endswith("data.pkl") else record)
    return result.getvalue()


def change_opcodes(chance, pickle):
    places = [place for _, _, place in pickletools.genops(pickle)] + [len(pickle)]
    # Without frames, whose lengths would not fit any more.
    opcodes = [pickle[a:b] for a, b in zip(places, places[1:]) if pickle[a] != 0x95]
    for _ in range(chance.randrange(1, 3)):
        at, other = chance.randrange(1, len(opcodes)), chance.choice(opcodes[1:])
        change = chance.randrange(5)
        if change == 0:
            del opcodes[at]
        elif change == 1:
            opcodes[at] = other
        elif change == 2:
            opcodes.insert(at, other)
        elif change == 3:
            opcodes[at] = chance.choice([b"N", b"\x88", b"\x89", b"K\x00", b"K\x01", b"}", b")", b"]",
                                         b"0", b"2", b"s", b"u", b"b", b"R"])
        elif len(opcodes[at]) > 1:
            changed = bytearray(opcodes[at])
            changed[-1] ^= 1 << chance.randrange(8)
            opcodes[at] = bytes(changed)
    return b"".join(opcodes)
