"""Hostile files of a few MB: what reading them takes stays far below what they ask for."""

import io
import struct
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from apps.models import names, zips
from apps.models.bundles import manifest

MB = 2**20


@contextmanager
def below(limit: int) -> Iterator[None]:
    """What runs inside allocates no more bytes at once than that."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit, f"{peak / MB:.0f} MiB"


def test_names_in_many_folders_are_compared_without_a_list_of_the_folders() -> None:
    paths = [f"{number}/" + "a/" * 300 + "x" for number in range(3000)]
    with below(12 * MB):
        assert names.double(paths) is None
    assert names.double([*paths, f"{7}/" + "a/" * 20 + "A"]) == "7/" + "a/" * 20 + "A"


@pytest.mark.parametrize("others", [[], ["a-b", "a.b", "a b", "a/b/c.", "b"]])
def test_a_file_where_a_folder_is_is_found_whatever_stands_between_them(others: list[str]) -> None:
    assert names.double([*others, "a/b", "A"]) in {"A", "a/b"}
    assert names.double(["ab/c", "a", "a b/c", "abc"]) is None


@pytest.mark.parametrize("path", ["a/" * 32 + "x", "a" * 901])
def test_a_bundle_keeps_to_the_depth_of_an_archive(path: str) -> None:
    assert manifest.inside("a/" * 31 + "x")
    with pytest.raises(ValueError, match="32 parts"):
        manifest.inside(path)


def end(directory: int) -> bytes:
    """The end of a zip, with the size that it says its directory has."""
    return struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 9, 9, directory, 0, 0)


def end64(directory: int) -> bytes:
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 9, 9, directory, 0)
    return record + struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1) + end(zips.IN_64)


HUGE = zips.MAX_DIRECTORY + 1
TAILS = {
    "marks before the one that counts": end(10) * 1000 + end(HUGE),
    "locators before the one that counts": b"PK\x06\x07" * 1000 + end64(HUGE),
    "a record of 64 bits": end64(HUGE),
    "a size that leaves the word to a record that isn't there": end(zips.IN_64),
    "one that isn't where it is looked for": end64(10)[:56] + b"x" + end64(10)[56:],
}


@pytest.mark.parametrize("case", TAILS)
def test_no_way_round_the_bound_of_a_zips_directory_is_open(case: str) -> None:
    assert not zips.plausible(io.BytesIO(bytes(100) + TAILS[case]))


def test_honest_ends_of_zips_are_plausible() -> None:
    assert zips.plausible(io.BytesIO(bytes(100) + end64(10)))
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.comment = b"quotes PK\x05\x06" + bytes(20)
    assert zips.plausible(made)
