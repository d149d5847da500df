"""The command ``view``: a trained animation in the browser, live or as a page to send."""
