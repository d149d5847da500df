"""Noise levels, training objectives, and the random numbers of a training step."""
