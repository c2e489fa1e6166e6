"""Quantization of a trained classifier: trials, measured against the float model, and the folder of the one that is kept."""
