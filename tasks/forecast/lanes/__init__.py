"""The training step of small Transformers, Informers and Autoformers on the CPU in compiled C, one window in each lane of a vector."""
