"""Files and folders that appear complete or not at all, and readers that survive damaged ones."""
