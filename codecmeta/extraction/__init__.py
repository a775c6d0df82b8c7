"""From a video to its record: which way, and what each way gives."""
