"""The lzop container: what was written is read again, and nothing else is."""

from __future__ import annotations

import io
import random
import struct
import tempfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import lzop

# Content of each size around a block's, compressible and not.
contents = st.builds(
    lambda size, seed, repeat: (random.Random(seed).randbytes(max(1, size // repeat)) * repeat)[:size],
    st.one_of(st.integers(0, 3000), st.sampled_from([lzop.BLOCK - 1, lzop.BLOCK, lzop.BLOCK + 1, 2 * lzop.BLOCK, 3 * lzop.BLOCK + 7])),
    st.integers(0, 1 << 32), st.sampled_from([1, 2, 50]))


def pack_file(data: bytes, name: str = "") -> bytes:
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(data)
        file.seek(0)
        return lzop.pack_file(file, len(data), name)


def written(data: bytes, step: int) -> bytes:
    """Through Writer, `step` bytes at a time."""
    parts: list[bytes] = []
    writer = lzop.Writer(parts.append, "name")
    for start in range(0, len(data), step):
        assert writer.write(data[start : start + step]) == len(data[start : start + step])
    writer.close()
    return b"".join(parts)


@settings(deadline=None, max_examples=60)
@given(contents, st.sampled_from([1000, 100_000, lzop.BLOCK, 1 << 20]))
def test_round_trip(data: bytes, step: int) -> None:
    """All ways to write give the same container but for the name, and all ways to read give the content back."""
    whole = b"".join(lzop.pack(data, "name"))
    assert whole == pack_file(data, "name") == written(data, step) == b"".join(lzop.packed(io.BytesIO(data), "name"))
    assert lzop.unpack(whole) == b"".join(lzop.blocks(io.BytesIO(whole))) == data
    reader = lzop.Reader(io.BytesIO(whole))
    assert b"".join(iter(lambda: reader.read(step), b"")) == data
    assert lzop.Reader(io.BytesIO(whole)).read() == data
    assert len(whole) <= len(data) + 100 + 12 * (len(data) // lzop.BLOCK + 1)


SMALL = b"".join(lzop.pack(b"some content, some content, some content" * 3 + bytes(range(256)), "a name"))


def damaged(container: bytes, content: bytes) -> bool:
    """Whether that is found. A reference to an earlier place may be changed to one to another place that reads the same:
    then nothing is lost."""
    try:
        return lzop.unpack(container) == content
    except lzop.Corrupt:
        return True


@pytest.mark.parametrize("at", range(len(SMALL)))
def test_flipped(at: int) -> None:
    """No flipped byte changes what is read without being found."""
    for bit in (1, 0x80):
        assert damaged(SMALL[:at] + bytes([SMALL[at] ^ bit]) + SMALL[at + 1 :], lzop.unpack(SMALL))


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_flipped_anywhere(data: st.DataObject) -> None:
    """So it is in a container of several blocks, compressed and not."""
    content = random.Random(5).randbytes(lzop.BLOCK) + b"text" * lzop.BLOCK
    whole = bytearray(b"".join(lzop.pack(content)))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert damaged(bytes(whole), content)


@pytest.mark.parametrize("length", range(len(SMALL)))
def test_cut(length: int) -> None:
    """A container that was cut is found, wherever it was, also between its blocks."""
    with pytest.raises(lzop.Corrupt):
        lzop.unpack(SMALL[:length])


def test_more() -> None:
    """Something after the end is found: another container as well as a single byte."""
    for more in (b"\0", SMALL):
        with pytest.raises(lzop.Corrupt, match="follows its end"):
            lzop.unpack(SMALL + more)


def container(flags: int, blocks: bytes, *, method: int = 1, version: int = 0x1040) -> bytes:
    """One that we would not write."""
    fields = struct.pack(">HHHBBIIIIB", version, 0x20A0, 0x0940, method, 5, flags, 0, 0, 0, 0)
    return b"\x89LZO\x00\r\n\x1a\n" + fields + struct.pack(">I", zlib.crc32(fields) if flags & 0x1000 else zlib.adler32(fields)) + blocks


PLAIN = b"abc"
STORED = struct.pack(">II", 3, 3)


@pytest.mark.parametrize("container", [
    container(0, STORED + PLAIN + bytes(4)), container(1, STORED + struct.pack(">I", zlib.adler32(PLAIN)) + PLAIN + bytes(4)),
    container(0x1100, STORED + struct.pack(">I", zlib.crc32(PLAIN)) + PLAIN + bytes(4)),
    container(0x103, STORED + struct.pack(">II", zlib.adler32(PLAIN), zlib.crc32(PLAIN)) + PLAIN + bytes(4))])
def test_other_checksums(container: bytes) -> None:
    """Every kind of checksum that lzop can write is read, and its absence is."""
    assert lzop.unpack(container) == PLAIN


@pytest.mark.parametrize("container", [
    container(0, STORED + PLAIN + bytes(4), method=9), container(0x400, bytes(4)), container(0x800, bytes(4)), container(0, bytes(4), version=0x0900),
    container(0, struct.pack(">II", 1 << 31, 3) + PLAIN), container(0, struct.pack(">II", 3, 4) + PLAIN),
    container(0, struct.pack(">II", 100, 3) + PLAIN + bytes(4))])
def test_not_ours(container: bytes) -> None:
    """Containers of other kinds, and impossible ones, are refused before memory is taken for them."""
    with pytest.raises(lzop.Corrupt):
        lzop.unpack(container)


def test_shorter_file() -> None:
    """A file that has become shorter is not packed."""
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(b"x" * 1000)
        file.seek(0)
        with pytest.raises(EOFError):
            lzop.pack_file(file, 1001)
