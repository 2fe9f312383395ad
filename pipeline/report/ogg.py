"""Ogg streams that are the same every time: their writer draws a serial number, which tells nothing of a lone one."""

from __future__ import annotations

from functools import cache

_POLYNOMIAL = 0x04C11DB7  # RFC 3533, section 6: no reflection, no final inversion
_HEADER = 27


def with_serial(data: bytes, serial: int = 0) -> bytes:
    """The pages of an Ogg stream with another serial number, their checksums made anew.

    Raises:
        ValueError: Not whole Ogg pages.
    """
    out = bytearray(data)
    start = 0
    while start < len(out):
        if out[start : start + 4] != b"OggS" or start + _HEADER > len(out):
            raise ValueError(f"no page of an Ogg stream at byte {start}")
        segments = out[start + 26]
        end = start + _HEADER + segments + sum(out[start + _HEADER : start + _HEADER + segments])
        if end > len(out):
            raise ValueError(f"the Ogg page at byte {start} is cut short")
        out[start + 14 : start + 18] = serial.to_bytes(4, "little")
        out[start + 22 : start + 26] = bytes(4)
        out[start + 22 : start + 26] = _checksum(out[start:end]).to_bytes(4, "little")
        start = end
    return bytes(out)


def _checksum(page: bytes | bytearray) -> int:
    table, value = _table(), 0
    for byte in page:
        value = (value << 8 & 0xFFFFFFFF) ^ table[value >> 24 ^ byte]
    return value


@cache
def _table() -> tuple[int, ...]:
    values = []
    for value in range(256):
        value <<= 24
        for _ in range(8):
            value = (value << 1 & 0xFFFFFFFF) ^ (_POLYNOMIAL if value >> 31 else 0)
        values.append(value)
    return tuple(values)
