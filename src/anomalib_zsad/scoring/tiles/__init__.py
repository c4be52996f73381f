"""Large pictures: overlapping windows, scored one by one and put together without seams."""
