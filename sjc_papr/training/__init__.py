"""The training step of PAPR: where points start, what a step sees, losses, rates, checkpoints."""
