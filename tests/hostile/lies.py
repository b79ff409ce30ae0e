"""Files that were tampered with: cut, flipped, or sealed anew around a lie."""

import contextlib
import json
import struct
import zlib

from skglrm._block_format import HEAD
from skglrm._container import ALIGNMENT

NUMBERS = (
    0, -1, 1, 2, 3, 2**31 - 1, 2**31, 2**40, 2**62, 2**63, 2**64, -(2**31), -(2**63), 10**30,
    1e308, -0.5, 1e-320,
    float("inf"), float("nan"),
)  # fmt: skip
TEXTS = (
    "", "A", "\x00", "../../etc/passwd", "/etc/passwd", "os:system", "builtins:eval",
    "losses.Huber", "GLRM", "<f8", "<f4", "|O",
    "|V999999999", "<U999999999", "nan", "9" * 5000, "__class__", "row_factors_", "\ud800",
    "losses.Poisson", "model.Columns",
)  # fmt: skip
KINDS = (
    "array", "scalar", "float", "tuple", "dict", "record", "estimator", "history", "strings",
    "objects", "long_list",
    "long_tuple", "slice", "bytes", "decimal", "uuid", "date", "timedelta", "datetime",
    "timestamp", "random_state",
    "generator", "narwhals", "narwhals_enum", "pandas", "pandas_categories", "eval", "__init__",
)  # fmt: skip


# ------------------------------------------------------------------ models


def parts_of(content):
    """Header and arrays of a model file."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def sealed(header, arrays):
    """A model file with checksums that are right, whatever its header says."""

    def text(value):
        return json.dumps(value, separators=(",", ":")).encode("ascii")

    about = {key: value for key, value in header["__metadata__"].items() if key != "crc32"}
    about["crc32_of_arrays"] = str(zlib.crc32(arrays))
    crc = zlib.crc32(text({**header, "__metadata__": about}))
    found = text({**header, "__metadata__": {**about, "crc32": str(crc)}})
    found += b" " * (-(8 + len(found)) % ALIGNMENT)
    return len(found).to_bytes(8, "little") + found + arrays


def lying_model(content, rng):
    """A model file, sealed, that says something else than it did in one to three places."""
    header, arrays = parts_of(content)
    model = json.loads(header["__metadata__"]["model"])
    for _ in range(rng.randint(1, 3)):
        where = rng.random()
        if where < 0.8:
            _tell(model, rng)
        elif where < 0.9:
            _tell({k: v for k, v in header.items() if k != "__metadata__"}, rng)
        else:
            at = rng.randrange(max(1, len(arrays)))
            lie = rng.choice(
                (b"\xff" * 8, bytes(8), struct.pack("<d", float("nan")), struct.pack("<q", 2**40))
            )
            arrays = arrays[:at] + lie[: len(arrays) - at] + arrays[at + 8 :]
    header["__metadata__"]["model"] = json.dumps(model, separators=(",", ":"))
    return sealed(header, arrays)


def _tell(tree, rng):
    """Change one place of a tree of JSON."""
    places = []

    def walk(node):
        inside = (
            node.items() if type(node) is dict else enumerate(node) if type(node) is list else ()
        )
        for key, value in inside:
            places.append((node, key))
            walk(value)

    walk(tree)
    if not places:
        return
    node, key = rng.choice(places)
    act = rng.randrange(8)
    if act == 0:
        node[key] = rng.choice(NUMBERS)
    elif act == 1:
        node[key] = rng.choice(TEXTS)
    elif act == 2:
        node[key] = rng.choice((None, True, [], {}, [[]], {rng.choice(KINDS): []}))
    elif act == 3:
        del node[key]
    elif act == 4 and type(node) is dict:
        node[rng.choice(TEXTS + KINDS)] = node.pop(key)
    elif act == 5:
        node[key] = {rng.choice(KINDS): node[key]}
    else:  # exchange two places: both are sound, but not there
        other, at = rng.choice(places)
        with contextlib.suppress(KeyError, IndexError, ValueError):
            kept = json.loads(json.dumps([node[key], other[at]]))
            node[key], other[at] = kept[1], kept[0]


# ------------------------------------------------------------------ block files


def lying_blocks(content, rng):
    """A block file whose checksums are right, with other numbers in head, tables or entries."""
    head = list(HEAD.unpack(content[: HEAD.size]))
    begin = HEAD.size + 4
    size = 20 * (head[3] + head[4]) + 16 * (head[6] + 1) + 8 * (head[6] ** 2 + 1)
    tables, entries = bytearray(content[begin : begin + size]), bytearray(content[begin + size :])
    for _ in range(rng.randint(1, 3)):
        part = rng.choice((tables, entries, head))
        if part is head:
            at = rng.randrange(1, 9)
            lie = int(rng.choice(NUMBERS[:11]))
            head[at] = lie & 0xFFFFFFFF if at < 3 else max(-(2**63), min(lie, 2**63 - 1))
        else:
            at = 4 * rng.randrange(len(part) // 4)
            lie = rng.choice(
                (b"\xff" * 4, bytes(4), b"\x00\x00\xc0\x7f", b"\x01\x00\x00\x00", rng.randbytes(4))
            )
            part[at : at + 4] = lie
    if rng.random() < 0.2:
        head[8] = rng.choice((-1.0, float("nan"), 1e308))
    head[9] = zlib.crc32(tables)
    packed = HEAD.pack(*head)
    return packed + struct.pack("<I", zlib.crc32(packed)) + bytes(tables) + bytes(entries)


# ------------------------------------------------------------------ any file


def damaged(content, rng):
    """A file that was cut, extended, flipped, filled up or mixed with another place of itself."""
    content = bytearray(content)
    act = rng.randrange(5)
    if act == 0:
        del content[rng.randrange(len(content)) :]
    elif act == 1:
        content += rng.randbytes(rng.randint(1, 64))
    elif act == 2:
        for _ in range(rng.choice((1, 1, 2, 8))):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif act == 3:
        at = rng.randrange(len(content))
        lie = rng.choice((bytes(16), b"\xff" * 16, rng.randbytes(16)))
        content[at : at + 16] = lie
    else:
        a, b, n = (rng.randrange(len(content)) for _ in range(3))
        content[a : a + n % 64] = content[b : b + n % 64]
    return bytes(content)


def spoilt_text(content, rng):
    """Text with other words, signs and lines."""
    words = content.split(b" ")
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(words))
        words[at] = rng.choice(
            (
                b"",
                b"-1",
                b"1e400",
                b"nan",
                b"inf",
                b"9" * 400,
                b"0x10",
                b"\x00",
                b"\xff\xfe",
                b"1e-400",
                b"\n",
                b"2147483648",
                b"9223372036854775808",
                b"-0",
                b"1_000",
                b"99999999999",
                b"T",
                b"F",
                b"1.5",
                b"\xd9\xa1",
            )
        )
    return b" ".join(words)
