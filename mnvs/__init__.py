"""Multi-Frame Novel View Synthesis: one image to T frames of six views.

Zero123++'s spatial layers with the temporal layers of Stable Video Diffusion or AnimateDiff. Start
reading at `pipeline.py` (use), `unet.py` (the network) and `trainer.py` (the training step).
"""
