"""The import of a large zip beside `unzip` and `sha256sum` of the same files."""
