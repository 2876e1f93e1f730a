"""Mutations of plain bytes, of any kind of file. Each takes the bytes and a generator."""

from collections.abc import Callable
from random import Random

Mutation = Callable[[bytes, Random], bytes]
HEADER_BYTES = 2048
INTERESTING = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\x01\x00", b"\xff\xff", b"\xff\xff\xff\xff")


def somewhere(data: bytes, random: Random) -> int:
    """Return a place in the bytes; every other time in their first ones, where headers lie."""
    end = min(len(data), HEADER_BYTES) if random.random() < 0.5 else len(data)
    return random.randrange(max(end, 1))


def flip_bits(data: bytes, random: Random) -> bytes:
    """Flip one to eight single bits."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 8)):
        if changed:
            changed[somewhere(data, random)] ^= 1 << random.randrange(8)
    return bytes(changed)


def overwrite(data: bytes, random: Random) -> bytes:
    """Put other bytes over some: extreme values, or noise."""
    at, length = somewhere(data, random), random.choice((1, 2, 4, 16, 64))
    noise = random.choice(INTERESTING) if random.random() < 0.5 else random.randbytes(length)
    return data[:at] + noise + data[at + len(noise) :]


def blank(data: bytes, random: Random) -> bytes:
    """Put zeros over a block."""
    at = somewhere(data, random)
    length = min(_length(random), len(data) - at)
    return data[:at] + bytes(length) + data[at + length :]


def truncate(data: bytes, random: Random) -> bytes:
    """Cut the end off."""
    return data[: somewhere(data, random)]


def remove_block(data: bytes, random: Random) -> bytes:
    """Take some bytes out."""
    at = somewhere(data, random)
    return data[:at] + data[at + _length(random) :]


def double_block(data: bytes, random: Random) -> bytes:
    """Write some bytes twice."""
    at = somewhere(data, random)
    return data[: at + _length(random)] + data[at:]


def insert_noise(data: bytes, random: Random) -> bytes:
    """Write noise between."""
    at = somewhere(data, random)
    return data[:at] + random.randbytes(_length(random)) + data[at:]


def append_noise(data: bytes, random: Random) -> bytes:
    """Write noise after the end."""
    return data + random.randbytes(_length(random))


def _length(random: Random) -> int:
    return min(int(2 ** random.uniform(0, 14)), 10_000)


BLOCK_MUTATIONS: tuple[Mutation, ...] = (
    *(flip_bits, flip_bits, overwrite, overwrite, blank, truncate, remove_block, double_block),
    *(insert_noise, append_noise),
)
