"""ControlNets for Stable Diffusion 1 and 2: data, caches, the training step, and how well a net obeys its condition."""
