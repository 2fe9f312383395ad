"""`echat ingest`: recordings of people and of sound events, checked once and kept in one form."""
