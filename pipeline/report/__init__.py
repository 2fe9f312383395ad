"""`echat report`: one page about a run that can be read, filtered and heard, without a network."""
