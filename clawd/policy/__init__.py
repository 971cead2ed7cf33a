"""Pure decisions: no time, no files, no database."""
