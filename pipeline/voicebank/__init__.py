"""`echat ingest voices`: reference prompts for zero-shot speakers, picked from corpora of recordings by gates."""
