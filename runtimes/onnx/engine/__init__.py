"""The ONNX engine: a server over onnxruntime that runs in an interpreter of its own and knows nothing of Modelyard."""
