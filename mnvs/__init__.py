"""Multi-Frame Novel View Synthesis: one picture to T frames of six views.

The fused network arrives with its own release; nothing is implemented here yet.
"""
