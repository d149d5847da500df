"""Pictures of six views' object from other sides, as a network imagines them, to learn from."""
