"""Where assets come from: published collections, fetched file by file."""
