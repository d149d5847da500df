"""Datasets on disk: their layout, reading them as tensors, and what can be wrong with them."""
