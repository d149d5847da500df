"""The small view-conditioned denoiser that anyone can train: network, data, score model."""
