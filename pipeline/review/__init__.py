"""`echat review`: people listen blind to kept and rejected dialogues, and the gate is measured against them."""
