"""The suffixes that decide what a file is taken for."""

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst", ".jar", ".whl")
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".h5", ".keras")
"""Weights that can run code when they are loaded; a `.bin` that an ONNX graph names is plain data."""
