"""The training step of the video UNet and of the small VAE, and what surrounds it."""
