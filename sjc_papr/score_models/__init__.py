"""Score models: what a view without a picture should look like, given one that has a picture."""
