"""Asking language models over HTTP: requests, cache, limits, retries, and what their answers must be."""
