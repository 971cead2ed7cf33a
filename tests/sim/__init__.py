"""A seeded simulator that drives the shipped machine and policies through faults."""
