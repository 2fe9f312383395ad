"""One stage a file; `pipeline.dag` puts them in order."""
