"""What every bridge shares: what is asked of the Control Plane, and in which order. Knows no tool's names but for words.py."""
