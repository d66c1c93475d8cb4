"""The ONNX engine beside other embedding servers, on the same model and the same machine."""
