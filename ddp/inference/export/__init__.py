"""A trained network as a file for other programs: safetensors and ONNX.

A file is written whole or not at all, and never without a check that it gives the same pictures.
"""
