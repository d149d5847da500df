"""From the checkpoints of others to our networks: settings, weights, schedulers."""
