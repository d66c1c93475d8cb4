"""Hostile files of a few MB: what reading them takes stays far below what they ask for."""

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from apps.models import names
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
