"""The log of an engine: rotated, read from its end, and in nobody's way."""

from pathlib import Path

from modelyard.launchers.log import RotatingLog, tail


def test_the_log_is_rotated_and_read_over_its_parts(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "engine.log", size=1000)
    for number in range(100):
        log.write(f"line {number:04}\n".encode())
    assert tail(tmp_path / "engine.log", 3) == ["line 0097", "line 0098", "line 0099"]
    assert len(tail(tmp_path / "engine.log", 150)) > 90
    assert len(list(tmp_path.iterdir())) <= 3


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "missing" / "engine.log")
    log.write(b"lost\n")
    (tmp_path / "missing").mkdir()
    log.write(b"kept\n")
    assert tail(tmp_path / "missing" / "engine.log", 5) == ["kept"]


def test_a_line_that_a_rotation_cut_is_whole_again(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "engine.log", size=10)
    log.write(b"first\nhalf of a")
    log.write(b" line\nlast\n")
    assert tail(tmp_path / "engine.log", 5) == ["first", "half of a line", "last"]
    assert tail(tmp_path / "engine.log", 0) == []
