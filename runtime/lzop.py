"""The container of the `lzop` program, read and written in process: the format of WAL-E's archives.

liblzo2 does the compression, through ctypes, which releases Python's global lock meanwhile: several threads use several
processors. The format, all numbers big-endian (lzop 1.04, src/lzop.c and conf.h): magic, header with its checksum,
then blocks (length, compressed length, checksums, data), then a length of 0. Of the checksums that lzop knows we write CRC-32
of the data (lzop --crc32): it takes half the time of lzop's usual Adler-32.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

BLOCK = 256 << 10  # bytes in a block, as lzop's own
_MAX_BLOCK = 64 << 20
_MAGIC = b"\x89LZO\x00\r\n\x1a\n"
_END = b"\0\0\0\0"
_WORK = 16384 * ctypes.sizeof(ctypes.c_void_p)  # LZO1X_1_MEM_COMPRESS
# Header flags; D is of the data, C of the compressed data, H of the header.
_ADLER_D, _ADLER_C, _EXTRA, _CRC_D, _CRC_C, _MULTIPART, _FILTER, _H_CRC = 1, 2, 0x40, 0x100, 0x200, 0x400, 0x800, 0x1000
_lzo = ctypes.CDLL("liblzo2.so.2")
_local = threading.local()


class Corrupt(ValueError):
    """It is no lzop container, or it was changed or cut since it was written."""


class Readable(Protocol):
    """What a container is read from."""

    def read(self, count: int, /) -> bytes: ...


def _header(name: str) -> bytes:
    text = name.encode()[:255]
    # version, library, needed, method LZO1X_1, level, flags, mode, mtime (low, high), name
    head = struct.pack(">HHHBBIIIIB", 0x1040, 0x20A0, 0x0940, 1, 5, _CRC_D, 0o100600, 0, 0, len(text)) + text
    return _MAGIC + head + struct.pack(">I", zlib.adler32(head))


def _most(size: int) -> int:
    """What `size` bytes can become at worst."""
    return size + size // 16 + 64 + 3


def _work() -> ctypes.Array[ctypes.c_char]:
    """Memory that the compression needs meanwhile, of this thread."""
    if not hasattr(_local, "work"):
        _local.work = ctypes.create_string_buffer(_WORK)
    return _local.work  # type: ignore[no-any-return]


def _compress(block: bytes) -> bytes:
    """The block as LZO1X data, or the block itself where that is not shorter."""
    if not hasattr(_local, "out"):
        _local.out = ctypes.create_string_buffer(_most(BLOCK))
    length = ctypes.c_size_t(len(_local.out))
    _lzo.lzo1x_1_compress(block, ctypes.c_size_t(len(block)), _local.out, ctypes.byref(length), _work())  # it cannot fail
    return ctypes.string_at(_local.out, length.value) if length.value < len(block) else block


def _decompress(data: bytes, expected: int) -> bytes:
    if expected > getattr(_local, "room", 0):
        _local.room = max(expected, BLOCK)
        _local.plain = ctypes.create_string_buffer(_local.room)
    length = ctypes.c_size_t(expected)
    code = _lzo.lzo1x_decompress_safe(data, ctypes.c_size_t(len(data)), _local.plain, ctypes.byref(length), None)
    if code or length.value != expected:
        raise Corrupt("a block cannot be decompressed")
    return ctypes.string_at(_local.plain, expected)


def _block(block: bytes) -> bytes:
    packed = _compress(block)
    return struct.pack(">III", len(block), len(packed), zlib.crc32(block)) + packed


def pack(data: bytes | memoryview, name: str = "") -> list[bytes]:
    """The container of `data`, in pieces that belong one after the other."""
    view = memoryview(data)
    blocks = [_block(bytes(view[start : start + BLOCK])) for start in range(0, len(view), BLOCK)]
    return [_header(name), *blocks, _END]


def packed(file: BinaryIO, name: str = "") -> Iterator[bytes]:
    """The container of the rest of a file, piece by piece."""
    yield _header(name)
    while data := file.read(BLOCK):
        yield _block(data)
    yield _END


def pack_file(file: BinaryIO, size: int, name: str = "") -> bytes:
    """The container of the next `size` bytes of an unbuffered file; memory is taken for what comes out only. Raises
    EOFError where the file is shorter."""
    head = _header(name)
    plain, work, length = bytearray(BLOCK), _work(), ctypes.c_size_t()
    # Pages of a mapping are taken when they are written to; a bytearray would write to all of them at once.
    with mmap.mmap(-1, len(head) + -(-size // BLOCK) * (12 + _most(BLOCK)) + 4) as out, memoryview(plain) as view:
        out[: len(head)] = head
        at = len(head)
        whole, source = (ctypes.c_char * len(out)).from_buffer(out), (ctypes.c_char * BLOCK).from_buffer(plain)
        base = ctypes.addressof(whole)
        try:
            while size:
                block = min(size, BLOCK)
                if file.readinto(view[:block]) != block:  # type: ignore[attr-defined]
                    raise EOFError("it became shorter while it was read")
                _lzo.lzo1x_1_compress(source, ctypes.c_size_t(block), ctypes.c_void_p(base + at + 12), ctypes.byref(length), work)
                if length.value >= block:
                    length.value = block
                    out[at + 12 : at + 12 + block] = view[:block]
                struct.pack_into(">III", out, at, block, length.value, zlib.crc32(view[:block]))
                at += 12 + length.value
                size -= block
        finally:
            del whole, source  # else the mapping could not be closed
        out[at : at + 4] = _END
        return out[: at + 4]


class Writer:
    """Compresses what is written to it; the pieces go to `sink` in order. `close` writes the end."""

    def __init__(self, sink: Callable[[bytes], object], name: str = "") -> None:
        self._sink = sink
        self._rest = bytearray()
        sink(_header(name))

    def write(self, data: bytes) -> int:
        if len(data) == BLOCK:  # what is a block already becomes one, without a copy
            self._flush()
            self._sink(_block(data))
            return BLOCK
        self._rest += data
        while len(self._rest) >= BLOCK:
            self._sink(_block(bytes(self._rest[:BLOCK])))
            del self._rest[:BLOCK]
        return len(data)

    def _flush(self) -> None:
        if self._rest:
            self._sink(_block(bytes(self._rest)))
            self._rest.clear()

    def close(self) -> None:
        self._flush()
        self._sink(_END)


def _exactly(file: Readable, count: int) -> bytes:
    data = file.read(count)
    while len(data) < count:
        more = file.read(count - len(data))
        if not more:
            raise Corrupt("it ends too early")
        data += more
    return data


def _read_header(file: Readable) -> int:
    """The header's flags."""
    if _exactly(file, len(_MAGIC)) != _MAGIC:
        raise Corrupt("it is no lzop container")
    fixed = _exactly(file, 12)
    version, _library, _needed, method, _level, flags = struct.unpack(">HHHBBI", fixed)
    if version < 0x0940 or method not in (1, 2, 3) or flags & (_MULTIPART | _FILTER):
        raise Corrupt("it is a kind of lzop container that is not used for archives")
    head = fixed + _exactly(file, 13)  # mode, time, time, length of the name
    head += _exactly(file, head[-1])
    total = zlib.crc32(head) if flags & _H_CRC else zlib.adler32(head)
    if struct.unpack(">I", _exactly(file, 4))[0] != total:
        raise Corrupt("its header does not match its checksum")
    if flags & _EXTRA:
        length = struct.unpack(">I", _exactly(file, 4))[0]
        _exactly(file, min(length, 1 << 16) + 4)
    return int(flags)


def _verify(data: bytes, adler: int | None, crc: int | None) -> None:
    if (adler is not None and zlib.adler32(data) != adler) or (crc is not None and zlib.crc32(data) != crc):
        raise Corrupt("a block does not match its checksum")


def blocks(file: Readable) -> Iterator[bytes]:
    """The content of a container, block by block, each checked; raises Corrupt, also when something follows the end."""
    flags = _read_header(file)

    def number() -> int:
        return int(struct.unpack(">I", _exactly(file, 4))[0])

    def checksum(kind: int) -> int | None:
        return number() if flags & kind else None

    while length := number():
        packed = number()
        if length > _MAX_BLOCK or packed > length:
            raise Corrupt("a block has an impossible length")
        data_sums = checksum(_ADLER_D), checksum(_CRC_D)
        packed_sums = (checksum(_ADLER_C), checksum(_CRC_C)) if packed < length else (None, None)
        data = _exactly(file, packed)
        _verify(data, *packed_sums)
        if packed < length:
            data = _decompress(data, length)
        _verify(data, *data_sums)
        yield data
    if file.read(1):
        raise Corrupt("something follows its end")


class Reader:
    """The content of a container as a file to read from; raises Corrupt."""

    def __init__(self, file: Readable) -> None:
        self._blocks = blocks(file)
        self._rest = b""

    def read(self, count: int = -1) -> bytes:
        """Up to `count` bytes (all: -1), nothing only at the end, which is then verified to be one."""
        parts = [self._rest]
        have = len(self._rest)
        while count < 0 or have < count:
            block = next(self._blocks, None)
            if block is None:
                break
            parts.append(block)
            have += len(block)
        whole = b"".join(parts)
        if count < 0:
            count = len(whole)
        self._rest = whole[count:]
        return whole[:count]


def unpack(data: bytes) -> bytes:
    """The content of a container; raises Corrupt."""
    return b"".join(blocks(_Bytes(data)))


class _Bytes:
    """Bytes to read from without copying the rest each time."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = memoryview(data), 0

    def read(self, count: int) -> bytes:
        part = bytes(self._data[self._at : self._at + count])
        self._at += len(part)
        return part
