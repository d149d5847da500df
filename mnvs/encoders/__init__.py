"""Everything of a checkpoint that is not the UNet: VAE, CLIP vision encoder, empty prompt."""
