"""Score models: what a view without an image should look like, given one that has an image."""
