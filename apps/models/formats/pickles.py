"""Pickles, read as what they are (programs of opcodes) and never run: which names would loading one import?

What may be imported is on a list; everything else is refused, and so is whatever can't be read to its end. The reader
never looks anything up, so that a name is what stands in the file: `torch._utils.x` isn't allowed because `torch` is.
"""

import io
import pickletools
import re
import struct
import zipfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from apps.models import zips
from apps.models.formats.safetensors import Malformed

MAX_OPCODES = 3_000_000  # of one file; a state dict has about fifty a tensor
MAX_ARGUMENT = 16 * 2**20  # bytes of one argument
MAX_LINE = 64 * 1024  # bytes of one argument that ends with its line
MAX_MEMBERS = 200_000  # entries of a PyTorch archive; one a tensor
MAX_MEMBER = 64 * 2**20  # bytes of the pickle in a PyTorch archive
MAX_MEMO = 1_000_000  # things that one pickle refers to again
MAX_TEXT = 1024  # characters of a name
MAX_REMEMBERED = 8 * 2**20  # characters of all texts that are referred to again; four bytes each at most
MAX_NAMES = 200  # different names that are remembered
ZIP = b"PK\x03\x04"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PICKLES = 5  # magic number, protocol, machine, the object, the keys of its storages
PLAIN_MEMBERS = ("version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id")
"""What a PyTorch archive holds beside `data.pkl` and `data/<number>`."""
STORAGES = ("Float", "Double", "Half", "BFloat16", "Byte", "Char", "Short", "Int", "Long", "Bool")
DTYPES = (
    "float32", "float64", "float16", "bfloat16", "uint8", "int8", "int16", "int32", "int64", "bool", "float8_e4m3fn",
    "float8_e5m2", "uint16", "uint32", "uint64", "complex64",
)  # fmt: skip
ALLOWED = frozenset({
    "collections.OrderedDict",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch.nn.parameter.Parameter",
    "torch.Size",
    "torch.storage.UntypedStorage",
    *(f"torch.{name}Storage" for name in STORAGES),
    *(f"torch.{name}" for name in DTYPES),
})  # fmt: skip
"""The names that a state dict of tensors needs, whole."""
STRINGS = frozenset({
    "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "STRING", "BINSTRING", "SHORT_BINSTRING",
})  # fmt: skip
GETS, PUTS = frozenset({"GET", "BINGET", "LONG_BINGET"}), frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
EXTENSIONS = frozenset({"EXT1", "EXT2", "EXT4"})
IMPORTS = frozenset({"INST", "GLOBAL", "STACK_GLOBAL", *EXTENSIONS})
CALLS = frozenset({"REDUCE", "NEWOBJ", "NEWOBJ_EX", "BUILD", "OBJ", "INST"})
MADE_WHILE_LOADING = "(a name that is made while it is loaded)"
NUMPY = b"\x93NUMPY"


@dataclass
class Pickle:
    """What reading found: the names it would import, whether it calls anything, and why it can't be read."""

    names: set[str] = field(default_factory=set)
    acts: bool = False
    calls: bool = False
    whole: bool = False
    unreadable: str = ""

    @property
    def refused(self) -> list[str]:
        """The names that aren't on the list."""
        return sorted(self.names - ALLOWED)

    @property
    def allowed(self) -> bool:
        """Was it read to its end, and is every name on the list?"""
        return not self.unreadable and not self.refused

    def said(self) -> str:
        """In a few words, for a report."""
        if self.refused:
            more = f" and {len(self.refused) - 5} more" if len(self.refused) > 5 else ""
            return f"would import {', '.join(name[:80] for name in self.refused[:5])}{more}"
        if self.unreadable:
            return f"can't be read to its end ({self.unreadable})"
        return "would import tensors only"


class Bounded:
    """A file that gives no more at once than an argument may have: pickletools reads what a length in it says."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file

    def read(self, size: int) -> bytes:
        """So many bytes."""
        if not 0 <= size <= MAX_ARGUMENT:
            raise Malformed("an argument is longer than a state dict needs")
        return self.file.read(size)

    def readline(self) -> bytes:
        """One line; none is longer than a name."""
        line = self.file.readline(MAX_LINE)
        if len(line) == MAX_LINE:
            raise Malformed("a line is longer than a name")
        return line

    def tell(self) -> int:
        """Where it is."""
        return self.file.tell()


class Reader:
    """Goes through the opcodes of one file's pickles; of the stack it knows the last two things, if they are texts."""

    def __init__(self, found: Pickle) -> None:
        self.found = found
        self.left = MAX_OPCODES
        self.recent: list[str | None] = []
        self.memo: dict[int, str | None] = {}
        self.room = MAX_REMEMBERED
        self.depth = 0
        self.marks: list[int] = []
        self.first: Any = None

    def pickle(self, file: IO[bytes]) -> None:
        """One, to its STOP. Malformed if it can't be read to there."""
        self.recent, self.memo, self.first, self.depth, self.marks = [], {}, None, 0, []
        self.room = MAX_REMEMBERED
        try:
            for opcode, argument, _ in pickletools.genops(cast(IO[bytes], Bounded(file))):
                self.left -= 1
                if self.left < 0 or len(self.memo) > MAX_MEMO:
                    raise Malformed("it has more opcodes than a state dict needs")
                self._stack(opcode)
                self._opcode(opcode.name, argument)
        except Malformed:
            raise
        except (ValueError, EOFError, OverflowError, struct.error) as error:
            raise Malformed(f"no pickle: {str(error)[:80]}") from None

    def _stack(self, opcode: pickletools.OpcodeInfo) -> None:
        """How deep the stack is after it. Malformed where there isn't what it takes: loading would end there too."""
        before, after = opcode.stack_before, opcode.stack_after
        if pickletools.markobject in before:
            if not self.marks:
                raise Malformed("no pickle: it takes from a mark that isn't there")
            taken = before.index(pickletools.markobject)
            self.depth = self.marks.pop() - taken
        elif opcode.name == "POP" and self.marks and self.marks[-1] == self.depth:
            self.marks.pop()
            return
        else:
            self.depth -= len(before)
        if self.depth < (self.marks[-1] if self.marks else 0):
            raise Malformed("no pickle: it takes more than there is")
        if opcode.name == "MARK":
            self.marks.append(self.depth)
        else:
            self.depth += len(after)

    def _opcode(self, name: str, argument: Any) -> None:
        self.found.acts |= name in IMPORTS
        self.found.calls |= name in CALLS and self.found.acts
        if name in STRINGS:
            short = isinstance(argument, str) and len(argument) <= MAX_TEXT
            self.recent = [*self.recent[-1:], argument if short else None]
        elif name in GETS:
            self.recent = [*self.recent[-1:], self.memo.get(int(argument))]
        elif name in PUTS or name == "MEMOIZE":
            place = len(self.memo) if name == "MEMOIZE" else int(argument)
            self._remember(place, self.recent[-1] if self.recent else None)
        elif name not in {"FRAME", "PROTO", "STOP"}:
            self._other(name, argument)

    def _remember(self, place: int, text: str | None) -> None:
        """What the pickle may refer to again. Without room it is not known: a name made of it is refused."""
        if text is not None:
            self.room -= len(text)
        self.memo[place] = text if self.room >= 0 else None

    def _other(self, name: str, argument: Any) -> None:
        if name in {"GLOBAL", "INST"}:
            self._name(".".join(str(argument).split(" ", 1)))
        elif name == "STACK_GLOBAL":
            module, attribute = self.recent if len(self.recent) == 2 else (None, None)
            known = module is not None and attribute is not None
            self._name(f"{module}.{attribute}" if known else MADE_WHILE_LOADING)
        elif name in EXTENSIONS:
            self._name(f"(extension {argument})")
        elif self.first is None and name in {"LONG1", "LONG"}:
            self.first = argument
        self.recent = []

    def _name(self, name: str) -> None:
        if len(self.found.names) < MAX_NAMES:
            self.found.names.add(name)
        elif name not in ALLOWED:
            self.found.names.add("(more names)")


def read(path: Path) -> Pickle:
    """What a weights file that may be a pickle would import: PyTorch's archives, its older files, plain pickles."""
    found = Pickle()
    try:
        with path.open("rb") as file:
            if file.read(4) == ZIP:
                _archive(file, found)
            else:
                _plain(file, found)
    except Malformed as error:
        found.unreadable = str(error)
    return found


def disguised(path: Path) -> Pickle | None:
    """The pickle that a file of another name is: one that imports something, and is whole or gets as far as a call.

    None for all other files. A NumPy file of objects is one after its header.
    """
    found = Pickle()
    with path.open("rb") as file:
        head = file.read(10)
        numpy = head.startswith(NUMPY) and _of_objects(file, head)
        file.seek(0 if not numpy else file.tell())
        try:
            Reader(found).pickle(file)
            found.whole = True
        except Malformed as error:
            found.unreadable = str(error)
    marked = len(head) == 10 and head[0] == 0x80 and 2 <= head[1] <= 5
    return found if numpy or (found.acts and (found.whole or found.calls or marked)) else None


def _of_objects(file: IO[bytes], head: bytes) -> bool:
    """Go behind the header of a NumPy file; does it hold objects, not numbers?"""
    wide = head[6] >= 2
    length = int.from_bytes(head[8:10] + (file.read(2) if wide else b""), "little")
    header = file.read(min(length, MAX_LINE))
    return re.search(rb"""['"]\|?O\d*['"]""", header) is not None


def _plain(file: IO[bytes], found: Pickle) -> None:
    """One pickle after the other, as `torch.load` reads its older files; then raw numbers."""
    if zipfile.is_zipfile(file):
        raise Malformed("it begins as a pickle and ends as a zip")
    file.seek(0)
    reader = Reader(found)
    reader.pickle(file)
    needed = LEGACY_PICKLES if reader.first == LEGACY_MAGIC else 1
    for _ in range(needed - 1):
        reader.pickle(file)
    found.whole = True
    _more(reader, file)


def _more(reader: Reader, file: IO[bytes]) -> None:
    """Pickles that follow, as far as there are any: some readers go on."""
    while file.read(1):
        file.seek(-1, 1)
        try:
            reader.pickle(file)
        except Malformed:
            return


def _archive(file: IO[bytes], found: Pickle) -> None:
    """PyTorch's zip: only what it writes may be in it, once, undamaged, and where it begins is where the file does."""
    if not zips.plausible(file):
        raise Malformed("its archive's list of entries is longer than possible")
    try:
        with zipfile.ZipFile(file) as zipped:
            infos = zipped.infolist()
            _members(infos)
            for info in infos:
                if info.filename.lower().endswith("/data.pkl"):
                    _member(zipped, info, found)
                    found.whole = True
    except Malformed:
        raise
    except (*zips.UNREADABLE, OSError) as error:
        raise Malformed(f"a damaged PyTorch archive: {str(error)[:80]}") from None
    if not found.whole:
        raise Malformed("a zip, but no PyTorch archive")


def _members(infos: list[zipfile.ZipInfo]) -> None:
    names = [info.filename for info in infos]
    if len(names) > MAX_MEMBERS or len(set(names)) != len(names):
        raise Malformed("its archive has too many entries, or one twice")
    if not infos or min(info.header_offset for info in infos):
        raise Malformed("its archive has something before its first entry")
    for info in infos:
        inside = info.filename.partition("/")[2]
        tensor = inside.startswith("data/") and inside.removeprefix("data/").isdecimal()
        if inside != "data.pkl" and not tensor and inside not in PLAIN_MEMBERS:
            raise Malformed(f"its archive holds {PurePosixPath(info.filename).name[:60]!r}, which no state dict has")
        if info.flag_bits & 0x1 or info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise Malformed("its archive is encrypted or packed in a way that PyTorch doesn't")


def _member(zipped: zipfile.ZipFile, info: zipfile.ZipInfo, found: Pickle) -> None:
    if info.file_size > MAX_MEMBER:
        raise Malformed("its pickle is larger than a state dict needs")
    with zipped.open(info) as member:
        data = member.read(MAX_MEMBER + 1)
    reader, stream = Reader(found), io.BytesIO(data)
    reader.pickle(stream)
    _more(reader, stream)
