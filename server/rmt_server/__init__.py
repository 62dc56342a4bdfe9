"""HTTP inference server for very long documents: sessions, streamed uploads, answers and snapshots."""
