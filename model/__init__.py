"""OSUM-EChat (arXiv 2508.09600): this room is reserved for the model and its trainer; nothing is built yet."""
