"""What the environment says about this installation, read once and without Django."""

import contextlib
import os
import secrets
from pathlib import Path


def text(name: str, default: str = "") -> str:
    """The value of MODELYARD_<name>."""
    return os.environ.get(f"MODELYARD_{name}", default)


def flag(name: str, default: bool = False) -> bool:
    """MODELYARD_<name> as yes or no; anything but 1/true/yes/on is no."""
    value = text(name)
    return value.lower() in {"1", "true", "yes", "on"} if value else default


def number(name: str, default: int, *, least: int | None = None, most: int | None = None) -> int:
    """MODELYARD_<name> as a whole number within its bounds; a value that can't be used is named in the error."""
    value = text(name)
    try:
        given = int(value) if value else default
    except ValueError:
        raise SystemExit(f"modelyard: MODELYARD_{name} must be a whole number, not {value!r}") from None
    if (least is not None and given < least) or (most is not None and given > most):
        bounds = " and ".join(
            f"at {word} {bound}" for word, bound in (("least", least), ("most", most)) if bound is not None
        )
        raise SystemExit(f"modelyard: MODELYARD_{name} must be {bounds}, not {value}: unset it for {default}")
    return given


def names(name: str) -> list[str]:
    """MODELYARD_<name> as a comma-separated list."""
    return [part.strip() for part in text(name).split(",") if part.strip()]


def hub_endpoint() -> str:
    """Where models are downloaded from: HF_ENDPOINT, as every tool of Hugging Face reads it, or Hugging Face."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").strip().rstrip("/")


def data_directory() -> Path:
    """Where everything that must survive lives: database, models, logs, engine records."""
    return Path(text("DATA_DIR") or Path.home() / ".modelyard").expanduser().absolute()


def directory(name: str) -> Path:
    """A folder in the data directory, made if it isn't there."""
    path = data_directory() / name
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise unwritable(error) from None
    return path


def unwritable(error: OSError) -> SystemExit:
    """The one line that says that the data directory can't be used, and what to do."""
    return SystemExit(
        f"modelyard: can't write to the data directory {data_directory()} ({error.strerror}): "
        "make it writable, or set MODELYARD_DATA_DIR to a directory that is"
    )


def secret_key() -> str:
    """Django's secret key: from the environment, else made once and kept in the data directory (mode 0600)."""
    given = text("SECRET_KEY")
    if given:
        return given
    path = directory(".") / "secret_key"
    try:
        if not path.exists():
            _make_secret_key(path)
        key = path.read_text().strip()
    except OSError as error:
        raise unwritable(error) from None
    if not key:
        raise SystemExit(f"modelyard: {path} is empty: restore it from a backup, or delete it (API keys are void then)")
    return key


def _make_secret_key(path: Path) -> None:
    """Whole or not at all, also on a full disk; of two that start at once, both use the key of the first."""
    unfinished = path.with_name(f"secret_key.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(50))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
