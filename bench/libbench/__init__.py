"""What the measurements share: measure.py (figures), peers.py (managers)."""
