"""A reading list in one JSON file."""
