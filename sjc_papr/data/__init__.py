"""Training views: all of a dataset's, or only a few of them."""
