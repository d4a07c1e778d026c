"""Trained models outside of Python: ONNX, OpenVINO, INT8."""
