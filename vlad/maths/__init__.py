"""Plain functions on tensors, for heads."""
