"""``python -m animate_papr.report``: one HTML file on what a run made and how good it is."""
