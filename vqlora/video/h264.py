"""What H.264 packets in MP4's form say without decoding (ITU-T H.264; ISO/IEC 14496-15): restarts, interlacing."""

from __future__ import annotations

from collections.abc import Iterator

IDR, SPS = 5, 7  # unit types: after an IDR picture nothing earlier is needed; sequence parameters (table 7-1)
HIGH_PROFILES = frozenset([100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135])


def unit_types(packet: bytes, extradata: bytes) -> frozenset[int]:
    """Types of a packet's units, each with its length before it; none if the parameters are not MP4's."""
    if len(extradata) < 5 or extradata[0] != 1:
        return frozenset()
    width = (extradata[4] & 3) + 1
    types, place = set(), 0
    while place + width < len(packet):
        types.add(packet[place + width] & 0x1F)
        place += width + int.from_bytes(packet[place : place + width])
    return frozenset(types)


def is_progressive(extradata: bytes) -> bool:
    """Whether every picture is a whole frame: the one parameter set says frame_mbs_only_flag = 1. False if unsure."""
    if len(extradata) < 8 or extradata[0] != 1 or extradata[5] & 0x1F != 1:
        return False
    size = int.from_bytes(extradata[6:8])
    unit = extradata[8 : 8 + size].replace(b"\0\0\3", b"\0\0")  # emulation prevention
    try:
        return _frames_only(unit)
    except StopIteration:
        return False


def _frames_only(unit: bytes) -> bool:
    """Section 7.3.2.1.1, as far as the flag. Scaling lists and explicit picture order are left to a decoder."""
    profile, bits = unit[1], _bits(unit[4:])
    _golomb(bits)  # its id
    if profile in HIGH_PROFILES:
        if _golomb(bits) == 3:  # chroma 4:4:4
            next(bits)
        for read in (_golomb, _golomb, next):  # depths of luma and chroma, transform bypass
            read(bits)
        if next(bits):
            return False
    _golomb(bits)  # frame numbers
    order = _golomb(bits)
    if order == 1:
        return False
    if order == 0:
        _golomb(bits)
    for read in (_golomb, next, _golomb, _golomb):  # references, gaps, width, height
        read(bits)
    return bool(next(bits))


def _bits(raw: bytes) -> Iterator[int]:
    for byte in raw:
        yield from (byte >> shift & 1 for shift in range(7, -1, -1))


def _golomb(bits: Iterator[int]) -> int:
    """An unsigned Exp-Golomb number (section 9.1)."""
    zeros = 0
    while not next(bits):
        zeros += 1
    value = 1
    for _ in range(zeros):
        value = value << 1 | next(bits)
    return value - 1
