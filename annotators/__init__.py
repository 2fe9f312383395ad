"""Waveform to transcript, labels and quality: one engine a file, behind `annotators.base`."""
