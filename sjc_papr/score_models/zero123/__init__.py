"""Zero-1-to-3 as a score model, from local files in any of three layouts."""
