"""Reading checkpoints: settings and weights of UNets and encoders, schedulers; tiny checkpoints."""
