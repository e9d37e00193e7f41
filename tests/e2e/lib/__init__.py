"""What the end-to-end tests are made of: see reeve.py and load.py."""
