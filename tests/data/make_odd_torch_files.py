#!/usr/bin/env python3
"""Writes torch_odd/: archives as torch.save does not write them, and what torch.load makes of them.

    .venv/bin/python3 tests/data/make_odd_torch_files.py      (torch 2.11.0)

expected.json has for each file "torch", its tensors by name as [dtype, shape, bytes], or null where
torch.load fails; and "must_read", whether refusing it would be wrong. Another value is always wrong.
"""
import json
import pathlib
import shutil
import struct
import sys
import warnings
import zipfile

import torch

warnings.filterwarnings("ignore")
FOLDER = pathlib.Path(__file__).resolve().parent / "torch_odd"
EXPECTED = {}

STORAGES = {"0": struct.pack("<4f", 1, 2, 3, 4), "1": struct.pack("<4f", 5, 6, 7, 8)}
NONE, TRUE, FALSE = b"N", b"\x88", b"\x89"


def text(value):
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def number(value):
    return b"J" + struct.pack("<i", value)


def real(value):
    return b"G" + struct.pack(">d", value)


def long(digits):
    return b"\x8a" + bytes([len(digits)]) + digits


def tuple_of(*items):
    return b"(" + b"".join(items) + b"t"


def list_of(*items):
    return b"](" + b"".join(items) + b"e"


def pairs(*items):
    return b"(" + b"".join(key + value for key, value in items) + b"u"


def dict_of(*items):
    return b"}" + pairs(*items)


def call(name, *arguments):
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n".encode() + tuple_of(*arguments) + b"R"


def new(name, *arguments):
    return call(name, *arguments)[:-1] + b"\x81"


def storage(record="0", kind="torch.FloatStorage", count=number(4)):
    module, _, attribute = kind.rpartition(".")
    return tuple_of(text("storage"), f"c{module}\n{attribute}\n".encode(), text(record), text("cpu"), count) + b"Q"


def tensor(record="0", *metadata, held=None, offset=number(0), sizes=None, strides=None):
    return call("torch._utils._rebuild_tensor_v2", held or storage(record), offset,
                sizes or tuple_of(number(4)), strides or tuple_of(number(1)), FALSE,
                call("collections.OrderedDict"), *metadata)


def integers(record):
    return call("torch._utils._rebuild_tensor_v3", storage(record, "torch.storage.UntypedStorage", number(16)),
                number(0), tuple_of(number(4)), tuple_of(number(1)), FALSE, call("collections.OrderedDict"),
                b"ctorch\nint32\n")


ORDERED = "collections.OrderedDict"
A, B, W = text("a"), text("b"), text("w")
PUT, GET, DROP = b"q\x07", b"h\x07", b"0"
CASES = {}


def case(name, content, must_read=False):
    CASES[name] = content, must_read


def keys():
    case("key_twice_tensor_none", dict_of((A, tensor("0")), (W, tensor("1")), (A, NONE)), True)
    case("key_twice_none_tensor", dict_of((A, NONE), (W, tensor("1")), (A, tensor("0"))), True)
    case("key_twice_tensors", dict_of((A, tensor("0")), (A, tensor("1"))), True)
    case("key_thrice_by_setitem", b"}" + b"".join(A + tensor(r) + b"s" for r in "010"), True)
    case("key_twice_dict_tensor", dict_of((A, dict_of((W, tensor("0")))), (A, tensor("1"))), True)
    case("keys_1_and_true", dict_of((number(1), tensor("0")), (TRUE, tensor("1"))), True)
    case("keys_true_and_1", dict_of((TRUE, tensor("0")), (number(1), tensor("1")), (W, tensor("0"))), True)
    case("keys_0_and_minus_0", dict_of((number(0), tensor("0")), (real(-0.0), tensor("1"))), True)
    case("keys_1_and_1_0", dict_of((number(1), tensor("0")), (real(1.0), tensor("1"))), True)
    case("keys_1_and_1_5", dict_of((number(1), tensor("0")), (real(1.5), tensor("1"))), True)
    case("keys_2_63", dict_of((long(b"\xff" * 7 + b"\x7f"), tensor("0")), (real(2.0**63), tensor("1"))), True)
    case("keys_1_and_text_1", dict_of((number(1), tensor("0")), (text("1"), tensor("1"))))
    case("keys_1_and_long_1", dict_of((number(1), tensor("0")), (long(b"\x01" + b"\0" * 9), tensor("1"))), True)
    case("keys_minus_1_long", dict_of((number(-1), tensor("0")), (long(b"\xff" * 12), tensor("1"))), True)
    case("key_over_64_bits", dict_of((long(b"\1" * 9), tensor("0")), (W, tensor("1"))))
    case("keys_1_and_complex", dict_of((number(1), tensor("0")),
                                       (call("builtins.complex", real(1.0), real(0.0)), tensor("1"))))
    case("keys_a_and_str_a", dict_of((A, tensor("0")), (call("builtins.str", A), tensor("1"))))
    case("keys_5_and_int_5", dict_of((number(5), tensor("0")), (call("builtins.int", text("5")), tensor("1"))))
    case("keys_a_and_bytes_a", dict_of((A, tensor("0")), (b"C\x01a", tensor("1"))), True)
    case("key_none_and_tuple", dict_of((NONE, tensor("0")), (tuple_of(A), tensor("1")), (W, tensor("1"))), True)
    case("key_of_python_2", dict_of((b"U\x01w", tensor("0"))), True)


def dicts():
    case("ordered_of_lists", call(ORDERED, list_of(list_of(A, tensor("0")), list_of(B, tensor("1")))), True)
    case("ordered_of_tuples", call(ORDERED, tuple_of(tuple_of(A, tensor("0")))), True)
    case("ordered_of_dict", call(ORDERED, dict_of((A, tensor("0")), (A, tensor("1")))), True)
    case("ordered_of_ordered", call(ORDERED, call(ORDERED) + pairs((A, tensor("0")))), True)
    case("ordered_then_set", call(ORDERED, list_of(list_of(A, tensor("0")))) + pairs((A, tensor("1"))), True)
    case("ordered_of_two", call(ORDERED, dict_of((A, tensor("0"))), dict_of((B, tensor("1")))))
    case("ordered_of_text_pair", call(ORDERED, list_of(text("ab"))) + pairs((W, tensor("0"))))
    case("ordered_of_none", call(ORDERED, NONE) + pairs((W, tensor("0"))))
    case("ordered_new_of_lists", new(ORDERED, list_of(list_of(A, tensor("0")))) + pairs((W, tensor("1"))))
    case("ordered_new", new(ORDERED) + pairs((W, tensor("1"))), True)
    case("ordered_of_dict_changed_later",
         dict_of((A, tensor("0"))) + PUT + DROP + call(ORDERED, GET) + GET + pairs((A, tensor("1")), (B, NONE)) + DROP)
    case("ordered_of_list_changed_later",
         list_of(list_of(A, tensor("0"))) + PUT + DROP + call(ORDERED, GET) + GET + list_of(B, tensor("1")) + b"a" + DROP)
    case("ordered_of_pair_changed_later",
         list_of(A) + PUT + tensor("0") + b"a" + DROP + call(ORDERED, list_of(GET)) + GET + b"(" + NONE + b"e" + DROP)
    case("dict_of_dict", call("builtins.dict", dict_of((A, tensor("0")))), True)
    case("dict_python_2", call("__builtin__.dict", list_of(tuple_of(A, tensor("0")))), True)
    case("defaultdict_of_int", call("collections.defaultdict", b"c__builtin__\nlong\n") + pairs((A, tensor("0"))), True)
    case("defaultdict_items", call("collections.defaultdict", NONE, list_of(tuple_of(A, tensor("0")))), True)
    case("counter_of_dict", call("collections.Counter", dict_of((A, tensor("0")))), True)
    case("counter_of_list", call("collections.Counter", list_of(A, A)) + pairs((W, tensor("0"))))
    case("built_ordered", call(ORDERED) + pairs((A, tensor("0"))) + dict_of((text("_metadata"), dict_of())) + b"b", True)
    case("shared_dict", dict_of((W, tensor("0"))) + PUT + DROP + dict_of((A, GET), (B, GET)), True)
    case("filled_after_it_was_held",
         b"}" + PUT + DROP + dict_of((A, GET)) + GET + pairs((W, tensor("0"))) + DROP, True)
    case("dict_by_mark", b"(" + A + tensor("0") + B + tensor("1") + b"d", True)
    case("memo_far", dict_of((A, tensor("0") + b"r\x70\x11\x01\x00"), (B, b"j\x70\x11\x01\x00")), True)
    case("memo_memoize", dict_of((A, tensor("0") + b"q\x01"), (B, tensor("1") + b"\x94"), (text("c"), b"h\x01")), True)
    case("memo_again", dict_of((A, tensor("0") + PUT), (B, tensor("1") + PUT), (W, GET)), True)
    case("dup_and_pop", dict_of((A, tensor("0") + b"2" + DROP), (B, b"(" + NONE + b"1" + tensor("1"))), True)


def tensors():
    negative = dict_of((text("neg"), TRUE))
    case("negative", dict_of((W, tensor("0", negative))), True)
    for name, value in {"1": number(1), "false": FALSE, "none": NONE, "text": A}.items():
        case(f"negative_{name}", dict_of((W, tensor("0", dict_of((text("neg"), value))))))
    case("negative_twice", dict_of((W, tensor("0", dict_of((text("neg"), FALSE), (text("neg"), TRUE))))), True)
    case("negative_ordered", dict_of((W, tensor("0", call(ORDERED) + pairs((text("neg"), TRUE))))), True)
    case("negative_added_later", b"}" + PUT + DROP + dict_of((W, tensor("0", GET))) + GET + pairs((text("neg"), TRUE)) + DROP)
    case("metadata_none", dict_of((W, tensor("0", NONE))), True)
    case("metadata_empty", dict_of((W, tensor("0", dict_of()))), True)
    case("metadata_list", dict_of((W, tensor("0", list_of(tuple_of(text("neg"), TRUE))))))
    case("conjugate_of_floats", dict_of((W, tensor("0", dict_of((text("conj"), TRUE))))))
    case("size_of_9_bytes", dict_of((W, tensor(sizes=tuple_of(long(b"\x04" + b"\0" * 8))))), True)
    case("size_of_2_64", dict_of((W, tensor(sizes=tuple_of(long(b"\0" * 8 + b"\1"))))))
    case("offset_of_2_64", dict_of((W, tensor(offset=long(b"\0" * 8 + b"\1"), sizes=tuple_of(number(1))))))
    case("count_true", dict_of((W, tensor(held=storage(count=TRUE), sizes=tuple_of(number(1))))))
    case("zero_sizes", dict_of((W, tensor(sizes=tuple_of(number(0), number(3)),
                                          strides=tuple_of(number(9), number(9))))), True)
    two_40 = long(b"\0\0\0\0\0\1")
    for place in range(3):
        sizes = [two_40, two_40]
        sizes.insert(place, number(0))
        case(f"zero_size_overflows_{place}", dict_of((W, tensor(sizes=tuple_of(*sizes), strides=tuple_of(*sizes)))))
    case("size_class", dict_of((W, tensor(sizes=call("torch.Size", tuple_of(number(4)))))))
    case("of_integers", dict_of((W, integers("0"))), True)


def storages():
    ints = call("torch._utils._rebuild_tensor_v2", storage("0", "torch.IntStorage"), number(0),
                tuple_of(number(4)), tuple_of(number(1)), FALSE, call(ORDERED))
    case("storage_of_two_classes", dict_of((A, tensor("0")), (B, ints)))
    case("storage_of_two_classes_other_first", dict_of((B, ints), (A, tensor("0"))))
    case("storage_of_two_classes_elsewhere", dict_of((text("x"), list_of(ints)), (A, tensor("0"))))
    case("storage_of_two_sizes", dict_of((A, tensor("0", held=storage(count=number(2)), sizes=tuple_of(number(2)))),
                                         (B, tensor("0"))))
    case("storage_bytes_by_two_names", dict_of(
        *((key, call("torch._utils._rebuild_tensor_v2", storage("0", kind, number(16)), number(0),
                     tuple_of(number(16)), tuple_of(number(1)), FALSE, call(ORDERED)))
          for key, kind in ((A, "torch.ByteStorage"), (B, "torch.storage.UntypedStorage")))), True)
    case("storage_twice", dict_of((A, tensor("0")), (B, tensor("0"))), True)
    case("storage_named_by_int", dict_of((W, tensor(held=tuple_of(
        text("storage"), b"ctorch\nFloatStorage\n", number(0), text("cpu"), number(4)) + b"Q"))))


def states():
    state = tuple_of(storage("1"), number(0), tuple_of(number(4)), tuple_of(number(1)))
    case("tensor_with_state", dict_of((W, tensor("0") + state + b"b")))
    case("tensor_with_items", dict_of((W, tensor("0") + pairs((number(0), real(9.0))))))
    case("view_with_items", dict_of((W, tensor("0")), (text("x"), list_of(tensor("0") + pairs((number(0), real(9.0)))))))
    case("tensor_with_state_later", tensor("0") + PUT + DROP + dict_of((W, GET)) + GET + state + b"b" + DROP)
    typed = "torch._tensor._rebuild_from_type_v2"
    arguments = (storage("0"), number(0), tuple_of(number(4)), tuple_of(number(1)), FALSE, call(ORDERED))
    rebuild, plain = b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nTensor\n"
    for name, attributes, good in (
            ("note", dict_of((text("note"), A)), True), ("data", dict_of((text("data"), tensor("1"))), False),
            ("data_twice", dict_of((text("data"), tensor("1")), (text("data"), tensor("0"))), False),
            ("slots", tuple_of(NONE, dict_of((text("data"), tensor("1")))), False), ("none", NONE, True),
            ("real", dict_of((text("real"), tensor("1"))), False),
            ("ordered", call(ORDERED) + pairs((text("data"), tensor("1"))), False)):
        case(f"attributes_{name}", dict_of((W, call(typed, rebuild, plain, tuple_of(*arguments), attributes))), good)
        case(f"parameter_{name}", dict_of((W, call("torch._utils._rebuild_parameter_with_state", tensor("0"), FALSE,
                                                   call(ORDERED), attributes))), good)
    case("view_with_real", dict_of((W, tensor("0")), (text("x"), list_of(
        call(typed, rebuild, plain, tuple_of(*arguments), dict_of((text("real"), tensor("1"))))))))
    case("attributes_added_later", b"}" + PUT + DROP + dict_of(
        (W, call(typed, rebuild, plain, tuple_of(*arguments), GET))) + GET + pairs((text("note"), A)) + DROP)
    case("typed_twice", dict_of((W, call(typed, f"c{'torch._tensor'}\n_rebuild_from_type_v2\n".encode(), plain,
                                         tuple_of(rebuild, plain, tuple_of(*arguments), NONE), NONE))), True)
    case("parameter_of_parameter", dict_of((W, call("torch._utils._rebuild_parameter", call(
        "torch._utils._rebuild_parameter", tensor("0"), FALSE, call(ORDERED)), FALSE, call(ORDERED)))), True)
    case("tensor_called", dict_of((A, tensor("0")), (W, call("torch.Tensor", list_of(real(1.0))))))
    case("parameter_called", dict_of((A, tensor("0")), (W, call("torch.nn.parameter.Parameter", tensor("1")))))
    case("parameter_new", dict_of((A, tensor("0")), (W, new("torch.nn.parameter.Parameter", tensor("1")))))


def flatten(content, prefix=""):
    """Names as docs/teachers.md has them; None where two are the same."""
    found = {}
    for key, value in content.items():
        if isinstance(key, bool) or not isinstance(key, (str, int)):
            continue
        inner = {f"{prefix}{key}": value} if isinstance(value, torch.Tensor) else \
            flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {}
        if inner is None or found.keys() & inner.keys():
            return None
        found.update(inner)
    return found


def describe(tensor):
    tensor = tensor.detach().resolve_conj().resolve_neg().contiguous()
    elements = bytes(tensor.reshape(-1).view(torch.uint8).tolist()) if tensor.numel() else b""
    return [str(tensor.dtype).removeprefix("torch."), list(tensor.shape), elements.hex()]


def what_torch_reads(path):
    try:
        found = flatten(torch.load(path, weights_only=False))
        return None if found is None else {name: describe(value) for name, value in found.items()}
    except Exception:  # whatever it says: it reads nothing
        return None


def main():
    if not torch.__version__.startswith("2.11."):
        sys.exit(f"the files are made with torch 2.11, this is {torch.__version__}")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    for make in (keys, dicts, tensors, storages, states):
        make()
    for name, (content, must_read) in CASES.items():
        path = FOLDER / f"{name}.pt"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            records = {"data.pkl": b"\x80\x02" + content + b".", "version": b"3\n",
                       **{f"data/{record}": elements for record, elements in STORAGES.items()}}
            for record, held in records.items():
                archive.writestr(zipfile.ZipInfo(f"a/{record}"), held)
        read = what_torch_reads(path)
        if must_read and not read:
            sys.exit(f"{name}: torch reads {read}")
        EXPECTED[name] = {"torch": read, "must_read": must_read}
    (FOLDER / "expected.json").write_text(json.dumps(EXPECTED, indent=0) + "\n")


if __name__ == "__main__":
    main()
