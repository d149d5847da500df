"""Low-rank adapters (LoRA): which modules they sit on, and how they are saved."""
