"""Our container and that of the real lzop program are the same format, both ways."""

from __future__ import annotations

import random
import subprocess

import pytest

from runtime import lzop

CONTENTS = {"empty": b"", "small": b"a", "text": b"some content " * 100_000, "random": random.Random(1).randbytes(700_001),
            "zeros": bytes(16 << 20)}


def run(data: bytes, *options: str) -> bytes:
    return subprocess.run(["lzop", *options], input=data, check=True, capture_output=True).stdout


@pytest.mark.parametrize("name", CONTENTS)
def test_theirs(name: str) -> None:
    """lzop tests and unpacks what we packed."""
    whole = b"".join(lzop.pack(CONTENTS[name], "000000010000000000000001"))
    run(whole, "-t")
    assert run(whole, "-dc") == CONTENTS[name]


@pytest.mark.parametrize("options", ["-1", "-3", "-6", "-9", "--crc32", "--no-checksum", "-C", "--crc32 -C"])
@pytest.mark.parametrize("name", CONTENTS)
def test_ours(name: str, options: str) -> None:
    """We unpack what lzop packed, with any method and checksums."""
    assert lzop.unpack(run(CONTENTS[name], "-c", *options.split())) == CONTENTS[name]
