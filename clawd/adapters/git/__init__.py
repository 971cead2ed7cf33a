"""Git: the hub, private clones, merges in memory and the operator's own repository."""
