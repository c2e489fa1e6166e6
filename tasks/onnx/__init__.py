"""ONNX: exporting encoder classifiers, cleaning and fusing their graphs, and running them."""
