"""The benchmark suite: builds what it measures, measures it, and says how it compares. See ../README.md."""
