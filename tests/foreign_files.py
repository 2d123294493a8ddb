"""Writes small weight files in PyTorch's, Caffe's and Keras' formats, byte by byte."""

import struct
import zipfile

import h5py
import numpy as np

STORAGES = {
    "float32": b"FloatStorage",
    "float16": b"HalfStorage",
    "bfloat16": b"BFloat16Storage",
    "float64": b"DoubleStorage",
    "int64": b"LongStorage",
    "uint8": b"ByteStorage",
}


# Pickle opcodes, protocol 2.
def text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def integer(value):
    return b"J" + struct.pack("<i", value)


def named(module, name):
    return b"c" + module + b"\n" + name + b"\n"


def tuple_of(*items):
    return b"(" + b"".join(items) + b"t"


def pickle_of(body):
    return b"\x80\x02" + body + b"."


def tensor(key, array, *, size=None, stride=None, offset=0, legacy=False):
    """The call that rebuilds a tensor over storage `key`, which holds the array's elements."""
    array = np.asarray(array)
    size = array.shape if size is None else size
    if stride is None:
        stride = [int(np.prod(size[axis + 1 :])) for axis in range(len(size))]
    storage = tuple_of(
        *(text("storage"), named(b"torch", STORAGES[array.dtype.name]), text(key), text("cpu")),
        integer(array.size),
        *([b"N"] if legacy else []),
    )
    empty = named(b"collections", b"OrderedDict") + b")R"
    arguments = tuple_of(
        *(storage + b"Q", integer(offset)),
        *(tuple_of(*map(integer, size)), tuple_of(*map(integer, stride))),
        *(b"\x89", empty),
    )
    return named(b"torch._utils", b"_rebuild_tensor_v2") + arguments + b"R"


def state_dict(arrays, legacy=False):
    """An OrderedDict of tensors, storage N for the N-th, with the attribute that PyTorch adds."""
    items = b"".join(
        text(name) + tensor(str(n), array, legacy=legacy)
        for n, (name, array) in enumerate(arrays.items())
    )
    attribute = b"}" + text("_metadata") + named(b"collections", b"OrderedDict") + b")Rs"
    return named(b"collections", b"OrderedDict") + b")R(" + items + b"u" + attribute + b"b"


def write_torch_zip(path, arrays, body=None):
    """The layout of torch.save since 1.6; `body` replaces the pickled object."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle_of(body or state_dict(arrays)))
        archive.writestr("archive/byteorder", b"little")
        for n, array in enumerate(arrays.values()):
            archive.writestr(f"archive/data/{n}", np.asarray(array).tobytes())


def write_torch_legacy(path, arrays, body=None):
    """The older layout: magic number, version, system, object, storage keys, storages."""
    magic = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
    system = b"}" + text("little_endian") + b"\x88s"
    keys = b"](" + b"".join(text(str(n)) for n in range(len(arrays))) + b"e"
    parts = [magic, b"M\xe9\x03", system, body or state_dict(arrays, legacy=True), keys]
    with path.open("wb") as file:
        file.write(b"".join(map(pickle_of, parts)))
        for array in arrays.values():
            array = np.asarray(array)
            file.write(struct.pack("<q", array.size) + array.tobytes())


# Protocol buffers.
def varint(value):
    data = b""
    while value > 0x7F:
        data += bytes([value & 0x7F | 0x80])
        value >>= 7
    return data + bytes([value])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def blob(array, *, shaped=True, packed=True, double=False):
    """A BlobProto: with `shape`, or with num, channels, height and width."""
    if shaped:
        header = field(7, field(1, b"".join(map(varint, array.shape))))
    else:
        four = (1,) * (4 - array.ndim) + array.shape
        header = b"".join(varint(n << 3) + varint(size) for n, size in enumerate(four, start=1))
    number, code = (8, "<f8") if double else (5, "<f4")
    if packed:
        return header + field(number, array.astype(code).tobytes())
    tag = varint(number << 3 | (1 if double else 5))
    return header + b"".join(tag + value.astype(code).tobytes() for value in array.ravel())


def write_caffe(path, layers, version=2, **options):
    """A .caffemodel with blobs by layer name; V1 layers have no shapes, V2 layers have them."""
    name, blobs, kind = (1, 7, 100) if version == 2 else (4, 6, 2)
    options.setdefault("shaped", version == 2)
    with path.open("wb") as file:
        file.write(field(1, b"a net"))
        for layer, arrays in {"data": [], **layers}.items():
            body = field(name, layer.encode()) + field(3, b"bottom or top")
            body += b"".join(field(blobs, blob(np.asarray(a), **options)) for a in arrays)
            file.write(field(kind, body))


def write_keras(path, layers, *, inside=None, split=False):
    """An .h5 of Keras: (weight name, array) pairs by layer name, optionally in a subgroup."""
    with h5py.File(path, "w") as file:
        root = file.create_group(inside) if inside else file
        names = [name.encode() for name in ["input_1", *layers]]
        if split:
            root.attrs["layer_names0"], root.attrs["layer_names1"] = names[:1], names[1:]
        else:
            root.attrs["layer_names"] = names
        for layer, weights in {"input_1": [], **layers}.items():
            group = root.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/{name}".encode() for name, _ in weights]
            for name, array in weights:
                group.create_dataset(f"{layer}/{name}", data=array)
