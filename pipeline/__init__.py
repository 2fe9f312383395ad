"""Which stage reads which, and where each runs: DAG, Beam plan and select, grid, shards, verify, CLI."""
