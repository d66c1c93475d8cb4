"""The whole log of an engine: followed over rotations, searched, and by start."""

from pathlib import Path

from modelyard.launchers.log import KEPT, RotatingLog
from modelyard.launchers.reading import BLOCK, LogReader


def written(path: Path, numbers: range, size: int = 1000) -> RotatingLog:
    log = RotatingLog(path, size=size)
    for number in numbers:
        log.write(f"line {number:05}\n".encode())
    return log


def test_a_reader_goes_on_where_it_was_after_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    log = written(path, range(50))
    with LogReader(path) as reader:
        seen = reader.before(reader.size, 10_000)
    for number in range(50, 150):
        log.write(f"line {number:05}\n".encode())
    with LogReader(path) as reader:
        more = reader.after(seen.cursor, 10_000)
    assert not more.lost
    assert more.text.split() == b" ".join(b"line %05d" % number for number in range(50, 150)).split()


def test_a_place_that_was_rotated_away_is_told(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    written(path, range(5))
    with LogReader(path) as reader:
        old = reader.before(reader.size, 100).cursor
    (tmp_path / "engine.log").unlink()
    written(path, range(900, 902))
    with LogReader(path) as reader:
        assert reader.after("1-99999999", 1000).lost
        assert reader.after(old, 1000).text.endswith(b"line 00901\n")


def test_only_whole_lines_are_given_and_the_rest_beside_them(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    log = RotatingLog(path)
    log.write(b"first\nhalf")
    with LogReader(path) as reader:
        seen = reader.before(reader.size, 1000)
    assert (seen.text, seen.rest) == (b"first\n", b"half")
    log.write(b" a line\n")
    with LogReader(path) as reader:
        assert reader.after(seen.cursor, 1000).text == b"half a line\n"


def test_earlier_lines_come_in_pages_without_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    written(path, range(240))
    pages: list[bytes] = []
    with LogReader(path) as reader:
        place = reader.size
        while place:
            piece = reader.before(place, 300)
            pages.insert(0, piece.text)
            place = reader.place(piece.begin) or 0
    lines = b"".join(pages).splitlines()
    assert len(list(tmp_path.iterdir())) == KEPT
    assert lines == [b"line %05d" % number for number in range(240 - len(lines), 240)]


def test_a_search_looks_into_every_file_whatever_the_case(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    log = written(path, range(80))
    log.write(b"a RARE thing\n")
    written(path, range(80, 220))
    with LogReader(path) as reader:
        found = reader.search("rare Thing", 10)
        assert [line for _, line in found.lines] == [b"a RARE thing"]
        assert not found.more
        many = reader.search("line 0021", 3)
    assert [line for _, line in many.lines] == [b"line 00217", b"line 00218", b"line 00219"]
    assert many.more


def test_a_line_between_two_blocks_is_found_once(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    log = RotatingLog(path)
    log.write(b"x" * 99 + b"\n" + b"needle in the middle\n")
    log.write((b"y" * 99 + b"\n") * (BLOCK // 100 - 1) + b"z" * 85)
    with LogReader(path) as reader:
        assert [line for _, line in reader.search("needle", 5).lines] == [b"needle in the middle"]


def test_each_start_has_its_own_stretch(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    log = RotatingLog(path)
    for number in (1, 2, 3):
        log.write(f"--- start {number}, 2026-01-01 00:00:00 +0000\nsaid {number}\n".encode())
    with LogReader(path) as reader:
        assert [number for _, number in reader.starts()] == [1, 2, 3]
        assert reader.read(*reader.stretch(2)).endswith(b"said 2\n")
        assert b"said 3" not in reader.read(*reader.stretch(2))
        assert reader.read(*reader.stretch(9)) == b""


def test_no_log_is_an_empty_one(tmp_path: Path) -> None:
    with LogReader(tmp_path / "engine.log") as reader:
        piece = reader.before(reader.size, 100)
        assert (piece.text, reader.search("x", 5).lines) == (b"", [])
        assert reader.after(piece.cursor, 100).text == b""
