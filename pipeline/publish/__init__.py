"""`echat publish`: a verified run as a dataset that others can load, check and cite."""
