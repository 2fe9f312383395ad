"""Engines of the stage `script`: a plan row in, the words of query, reply and think text out; one a file."""
