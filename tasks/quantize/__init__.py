"""Int8 and int4 of ONNX encoder graphs by onnxruntime, and bitsandbytes' formats of torch models."""
