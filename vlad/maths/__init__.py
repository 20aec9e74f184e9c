"""Plain functions on tensors that heads are made of."""
