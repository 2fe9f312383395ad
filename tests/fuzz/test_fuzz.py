"""The targets of the fuzzer, without it: whole inputs, inputs that once crashed, and seeded mutations of both."""

from __future__ import annotations

import io
import random
import tarfile

import pytest
from targets import SEEDS, TARGETS, odd_tars, with_true_sums

MUTATIONS = 150
CRASHED = {
    "shards": [b"i\xff\xfe", b"d" + b"[" * 100_000, b"c../../etc/passwd"],
    "ledger": [b"r" + b"[" * 100_000, b'r{"format":1}', b"dPAR1PAR1"],
    "manifest": [b"r" + b"[" * 10_000, b"ra: &a [*a]", b"v\x00", b"s- id: 1"],
}


def mutated(data: bytes, draw: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 8])):
        place = draw.randrange(1, len(out))
        match draw.randrange(4):
            case 0:
                out[place] ^= 1 << draw.randrange(8)
            case 1:
                del out[place : place + draw.randrange(1, 40)]
            case 2:
                out[place:place] = draw.randbytes(draw.randrange(1, 10))
            case _:
                del out[place:]
        if len(out) < 2:
            break
    return bytes(out)


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_crashes_a_reader(name: str) -> None:
    draw, seeds = random.Random(name), list(SEEDS[name]())
    for data in (*seeds, *CRASHED[name]):
        TARGETS[name](data)
    for _ in range(MUTATIONS):
        TARGETS[name](mutated(draw.choice(seeds), draw))


@pytest.mark.parametrize("column", [b"text", b"turn"])
def test_a_column_whose_name_is_damaged_is_refused(column: bytes) -> None:
    """Found by fuzzing: a name that is not UTF-8 was told only when the table was used."""
    data = list(SEEDS["ledger"]())[1]
    TARGETS["ledger"](data.replace(column, b"\xe3" + column[1:]))


def test_mutated_headers_of_tars_are_read_and_not_refused_for_their_sums() -> None:
    """A fuzzer does not find checksums by itself: what a header says would never be tried."""

    def names(tar: bytes) -> list[str]:
        with tarfile.open(fileobj=io.BytesIO(tar), mode="r:", encoding="utf-8") as archive:
            return archive.getnames()

    long, pax, odd = odd_tars()
    for tar in (long, pax, odd):
        assert with_true_sums(tar) == tar
        hurt = tar[:100] + b"7" + tar[101:]  # of the mode
        with pytest.raises(tarfile.ReadError):
            names(hurt)
        assert names(with_true_sums(hurt)) == names(tar)
    assert names(long) == names(pax) == ["k" * 120 + ".json"]
    assert names(odd) == ["k\udcff.json"]
    assert (long[156:157], pax[156:157]) == (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE)


@pytest.mark.parametrize("field", [b'"requested"', b'"think_tag"', b'"speaker"'])
def test_a_dialogue_without_a_field_is_refused_by_every_reader(field: bytes) -> None:
    """Found by fuzzing, once tars got past their checksums: the reader for training ended in a KeyError."""
    (tar, *_) = SEEDS["shards"]()
    assert field in tar
    TARGETS["shards"](tar.replace(field, field[:-2] + b'!"'))


def test_array_headers_that_are_no_python_are_refused() -> None:
    """Found by fuzzing: numpy reads them with Python's own tokenizer, which has errors of its own."""
    from manifests.sound import read_tokens

    header = b"{'descr': '<i4', 'fortran_order': False, 'shape': (3"
    with pytest.raises(ValueError, match="header cannot be read"):
        read_tokens(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(12))
