"""Text and cues to waveform: one engine a file, behind `synthesis.base.Speaker`."""
