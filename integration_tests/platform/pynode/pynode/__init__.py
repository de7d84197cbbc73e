"""A model server: loads one ONNX model and predicts by it, over HTTP."""
