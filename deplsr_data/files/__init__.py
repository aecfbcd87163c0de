"""Photos, tables and data sets on disk."""
