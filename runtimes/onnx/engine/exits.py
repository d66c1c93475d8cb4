"""How the engine says why it or a recipe did not work: a code, an exit status and one line on stderr.

Standard library only: the plug reads the same table in the platform's processes.
"""

import enum

ERROR_PREFIX = "modelyard-onnx: error: "


class Exit(enum.IntEnum):
    """Exit statuses of a failed start; the name in lower case is the code on the line."""

    BAD_OPTIONS = 64
    GRAPH_MISSING = 65
    GRAPH_INVALID = 66
    GRAPH_UNSUPPORTED = 67
    EXTERNAL_DATA_MISSING = 68
    MISSING_PACKAGE = 69
    TOKENIZER_INVALID = 70
    POOLING_UNSUPPORTED = 71
    PORT_IN_USE = 72
    OUT_OF_MEMORY = 73
    INFERENCE_FAILED = 74
    DISK_FULL = 75
    INTERNAL = 76
    NOT_CONVERTIBLE = 77

    @property
    def code(self) -> str:
        """The code that people and the plug read, such as `port_in_use`."""
        return self.name.lower()


class StartFailure(Exception):
    """A start that cannot go on, and why in one line."""

    def __init__(self, status: Exit, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
