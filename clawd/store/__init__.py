"""SQL only, one module for each family of tables."""
