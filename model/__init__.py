"""OSUM-EChat (arXiv 2508.09600): a spoken-dialogue model that hears cues in a voice and answers to them."""
