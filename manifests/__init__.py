"""What data is: labels, schemas, ids, the ledger, and the declarative inputs that ship.

This room imports none of the others, and no heavy library at import time.
"""
