"""What a training step draws on: schedules, seeds, averaged weights, guards against bad values."""
