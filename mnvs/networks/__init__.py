"""The video UNets: Zero123++'s spatial layers with temporal layers between them."""
