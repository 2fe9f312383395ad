"""What data is worth: the same model trained on variants of it, judged on the same held-out speech."""
