"""Images and videos on disk and as tensors, and how alike two of them are."""
