"""The only input and output to the outside world: one module for each thing out there."""
