"""The training forward in PyTorch's operators: what trains where no kernel was compiled."""
